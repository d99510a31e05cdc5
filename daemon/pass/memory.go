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
	octets []byte // as many as 2 to some power
}

// buffers are those that are free, by the logarithm of their size. Two collections
// after the last copy they are gone.
var buffers [64]sync.Pool

func newBuffer(size int) *buffer {
	class := bits.Len(uint(size - 1))
	if b, ok := buffers[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{make([]byte, 1<<class)}
}

func (b *buffer) release() {
	if poisons {
		for i := range b.octets {
			b.octets[i] = poison
		}
	}
	buffers[bits.Len(uint(len(b.octets)-1))].Put(b)
}

// poison is what is in memory that has been given back, in builds with the race
// detector: mail that is read from there has other content.
const poison = 0xDB
