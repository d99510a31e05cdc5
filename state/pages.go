package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"
)

// The format of a bbolt file, version 2, as far as reading it takes: pages
// that begin with a header, two of them meta pages of which the newer counts,
// a list of free pages, and trees of branch and leaf pages. Numbers are in the
// machine's own order.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeaderLen    = 16
	metaLen          = 64
	elementLen       = 16
	bucketHeaderLen  = 16
	branchPage       = 0x01
	leafPage         = 0x02
	freelistPage     = 0x10
	bucketElement    = 0x01
	noFreelist       = math.MaxUint64
	freelistCountMax = 0xFFFF // the count itself then is the first entry
)

// errForeignFormat marks a file of a bbolt that we do not know.
var errForeignFormat = errors.New("unknown file format")

// pageReader reads a bbolt file page by page without bbolt, which trusts what
// it finds: a wrong number in a page makes it fault, recurse without end or
// write over pages in use.
type pageReader struct {
	file     io.ReaderAt
	pageSize int64
	pages    uint64 // how many there are
	commit   uint64 // the number of the last one
	root     uint64
	freelist uint64
	seen     []bool   // pages that are in use
	spare    [][]byte // buffers of one page
	visitor  visitor
}

// visitor is told of everything in a file. What it is given is valid during
// the call only.
type visitor interface {
	bucket(path []byte)
	value(path, key, value []byte)
}

// walkPages reads every page in use, tells the visitor of every bucket and
// value in the order of their keys, and returns the number of the last commit.
// It fails with ErrDamaged when the pages do not form the trees that bbolt
// expects: each page in use once and not free, every element within its page,
// every key in its place.
func walkPages(file io.ReaderAt, length int64, v visitor) (commit uint64, err error) {
	r := &pageReader{file: file, visitor: v}
	if err := r.readMeta(); err != nil {
		return 0, err
	}
	if r.pages > uint64(length/r.pageSize) {
		return 0, fmt.Errorf("%w: it is cut short", ErrDamaged)
	}
	r.seen = make([]bool, r.pages)
	if err := r.tree(nil, r.root); err != nil {
		return 0, err
	}
	return r.commit, r.checkFreelist()
}

// readMeta takes what the newer of the valid meta pages says.
func (r *pageReader) readMeta() error {
	r.pageSize = int64(os.Getpagesize())
	valid, foreign := false, false
	for _, second := range []bool{false, true} {
		at := int64(0)
		if second {
			at = r.pageSize
		}
		page := make([]byte, pageHeaderLen+metaLen)
		if _, err := r.file.ReadAt(page, at); errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it is too short", ErrDamaged)
		} else if err != nil {
			return err
		}
		meta := page[pageHeaderLen:]
		sum := fnv.New64a()
		sum.Write(meta[:56])
		if u32At(meta, 0) != boltMagic || u64At(meta, 56) != sum.Sum64() {
			continue
		}
		if u32At(meta, 4) != boltVersion {
			foreign = true
			continue
		}
		if commit := u64At(meta, 48); !valid || commit > r.commit {
			valid, r.commit = true, commit
			r.pageSize, r.root = int64(u32At(meta, 8)), u64At(meta, 16)
			r.freelist, r.pages = u64At(meta, 32), u64At(meta, 40)
		}
	}
	switch {
	case valid && r.pageSize >= 1024 && r.pageSize <= 1<<24:
		return nil
	case foreign:
		return errForeignFormat
	}
	return fmt.Errorf("%w: neither meta page is valid", ErrDamaged)
}

// page reads a page, with those that it overflows into, which must be in use
// nowhere else. The caller hands it back to done.
func (r *pageReader) page(id uint64) ([]byte, error) {
	var head [pageHeaderLen]byte
	if id < 2 || id >= r.pages {
		return nil, badPage(id, "is not there")
	}
	if _, err := r.file.ReadAt(head[:], int64(id)*r.pageSize); err != nil {
		return nil, err
	}
	more := uint64(u32At(head[:], 12))
	if u64At(head[:], 0) != id || more >= r.pages-id {
		return nil, badPage(id, "does not say so itself")
	}
	for i := id; i <= id+more; i++ {
		if r.seen[i] {
			return nil, badPage(i, "is in use twice")
		}
		r.seen[i] = true
	}
	var page []byte
	if n := len(r.spare); more == 0 && n > 0 {
		page, r.spare = r.spare[n-1], r.spare[:n-1]
	} else {
		page = make([]byte, int64(more+1)*r.pageSize)
	}
	_, err := r.file.ReadAt(page, int64(id)*r.pageSize)
	return page, err
}

func (r *pageReader) done(page []byte) {
	if int64(len(page)) == r.pageSize {
		r.spare = append(r.spare, page)
	}
}

func badPage(id uint64, what string) error { return fmt.Errorf("%w: page %d %s", ErrDamaged, id, what) }

// tree walks the tree of the bucket at a path.
func (r *pageReader) tree(path []byte, root uint64) error {
	r.visitor.bucket(path)
	return r.subtree(path, root, nil, nil)
}

// subtree walks the pages below id, whose keys are at least from and below to
// where these are not nil.
func (r *pageReader) subtree(path []byte, id uint64, from, to []byte) error {
	page, err := r.page(id)
	if err != nil {
		return err
	}
	defer r.done(page)
	count := int(u16At(page, 10))
	switch u16At(page, 8) {
	case leafPage:
		return r.leaf(path, id, page, from, to)
	case branchPage:
		if count == 0 {
			return badPage(id, "is an empty branch")
		}
	default:
		return badPage(id, "is neither branch nor leaf")
	}
	keys := make([][]byte, count, count+1)
	for i := range count {
		at := pageHeaderLen + i*elementLen
		if at+elementLen > len(page) {
			return badPage(id, "is too short for its elements")
		}
		var ok bool
		if keys[i], ok = span(page, at, u32At(page, at), u32At(page, at+4)); !ok {
			return badPage(id, "has an element outside")
		}
		if !inOrder(from, keys[i], to, i > 0) {
			return badPage(id, "has keys out of order")
		}
		from = keys[i]
	}
	keys = append(keys, to)
	for i := range count {
		if err := r.subtree(path, u64At(page, pageHeaderLen+i*elementLen+8), keys[i], keys[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// leaf tells the visitor of what stands in a leaf page, or in the page that a
// small bucket has as its value.
func (r *pageReader) leaf(path []byte, id uint64, page, from, to []byte) error {
	for i := range int(u16At(page, 10)) {
		at := pageHeaderLen + i*elementLen
		if at+elementLen > len(page) {
			return badPage(id, "is too short for its elements")
		}
		flags, pos, keyLen := u32At(page, at), u32At(page, at+4), u32At(page, at+8)
		key, ok := span(page, at, pos, keyLen)
		if !ok || len(key) == 0 {
			return badPage(id, "has an element outside")
		}
		value, ok := span(page, at+int(pos), keyLen, u32At(page, at+12))
		if !ok {
			return badPage(id, "has an element outside")
		}
		if !inOrder(from, key, to, i > 0) {
			return badPage(id, "has keys out of order")
		}
		from = key
		switch flags {
		case 0:
			r.visitor.value(path, key, value)
		case bucketElement:
			if err := r.nested(bytes.Join([][]byte{path, key}, nil), id, value); err != nil {
				return err
			}
		default:
			return badPage(id, "has an element of no known kind")
		}
	}
	return nil
}

// nested walks a bucket within a bucket: a tree of its own, or, when it is
// small, a leaf page within its value.
func (r *pageReader) nested(path []byte, id uint64, value []byte) error {
	if len(value) < bucketHeaderLen {
		return badPage(id, "has a bucket cut short")
	}
	if root := u64At(value, 0); root != 0 {
		return r.tree(path, root)
	}
	inline := value[bucketHeaderLen:]
	if len(inline) < pageHeaderLen || u16At(inline, 8) != leafPage {
		return badPage(id, "has a bucket cut short")
	}
	r.visitor.bucket(path)
	return r.leaf(path, id, inline, nil, nil)
}

// checkFreelist looks whether what the list of free pages names is free.
func (r *pageReader) checkFreelist() error {
	if r.freelist == noFreelist {
		return nil
	}
	page, err := r.page(r.freelist)
	if err != nil {
		return err
	}
	if u16At(page, 8) != freelistPage {
		return badPage(r.freelist, "is no list of free pages")
	}
	count, entries := uint64(u16At(page, 10)), page[pageHeaderLen:]
	if count == freelistCountMax {
		count, entries = u64At(entries, 0), entries[8:]
	}
	if count > uint64(len(entries)/8) {
		return badPage(r.freelist, "is too short for its entries")
	}
	for i := range int(count) {
		id := u64At(entries, i*8)
		if id < 2 || id >= r.pages || r.seen[id] {
			return badPage(id, "is not free")
		}
		r.seen[id] = true
	}
	return nil
}

// span returns the n octets that begin skip octets after at, if they are there.
func span(page []byte, at int, skip, n uint32) ([]byte, bool) {
	begin := int64(at) + int64(skip)
	end := begin + int64(n)
	if end > int64(len(page)) {
		return nil, false
	}
	return page[begin:end], true
}

// inOrder tells whether key lies from (which it may equal unless strict) to
// below to. Nil bounds nothing.
func inOrder(from, key, to []byte, strict bool) bool {
	c := bytes.Compare(from, key)
	return (c < 0 || c == 0 && !strict) && (to == nil || bytes.Compare(key, to) < 0)
}

func u16At(b []byte, at int) uint16 { return binary.NativeEndian.Uint16(b[at:]) }
func u32At(b []byte, at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
func u64At(b []byte, at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }
