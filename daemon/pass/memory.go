package pass

import (
	"math/bits"
	"sync"
)

// memory hands out memory for the messages of a parcel, which are let go together.
// Small ones lie side by side.
type memory struct {
	free     []byte
	expected int // octets of small messages that are still to come, as far as is told
	taken    []*buffer
}

const (
	slabSize  = 256 << 10
	apartFrom = slabSize / 8 // octets of a message that has its own
)

// expect tells of a message of that size that is to come.
func (m *memory) expect(size int64) {
	if size < apartFrom {
		m.expected += int(size)
	}
}

// take is memory for a message, with anything in it.
func (m *memory) take(size int) []byte {
	if size >= apartFrom {
		return m.another(size)[:size]
	}
	if size > len(m.free) {
		m.free = m.another(max(size, min(m.expected, slabSize)))
	}
	taken := m.free[:size:size]
	m.free, m.expected = m.free[size:], m.expected-size
	return taken
}

func (m *memory) another(size int) []byte {
	b := newBuffer(size)
	m.taken = append(m.taken, b)
	return b.octets
}

// release gives everything back: nobody may look at it any more.
func (m *memory) release() {
	for _, b := range m.taken {
		b.release()
	}
	m.taken, m.free = nil, nil
}

// buffer is memory that is used again and again. What is new has to be cleared first,
// and mapped by the system, which costs about as much as to read it from the network.
type buffer struct {
	octets []byte // as many as roomy makes
	class  int
}

// buffers are those that are free, by class. Two collections after the last copy they
// are gone.
var buffers [8 * 64]sync.Pool

// roomy rounds a size up to one that others have as well, by a quarter at most.
func roomy(size int) (octets, class int) {
	shift := max(bits.Len(uint(size-1))-3, 0)
	n := (size-1)>>shift + 1 // 5 to 8, but for the smallest
	return n << shift, 8*shift + n - 1
}

func newBuffer(size int) *buffer {
	octets, class := roomy(size)
	if b, ok := buffers[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{make([]byte, octets), class}
}

func (b *buffer) release() {
	if poisons {
		for i := range b.octets {
			b.octets[i] = poison
		}
	}
	buffers[b.class].Put(b)
}

// poison is what is in memory that has been given back, in builds with the race
// detector: mail that is read from there has other content.
const poison = 0xDB
