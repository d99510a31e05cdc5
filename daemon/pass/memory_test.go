package pass

import (
	"bytes"
	"slices"
	"testing"
)

// TestMemory: messages lie side by side and never in one another, also where memory is
// used again, and no more is taken than is expected, or what comes against expectation
// needs, and a quarter.
func TestMemory(t *testing.T) {
	for _, test := range []struct {
		name     string
		expected int64
		sizes    []int
		most     int // octets
	}{
		{"one", 1000, []int{1000}, 1024},
		{"many", 200 * 3000, slices.Repeat([]int{3000}, 200), 3 * slabSize},
		{"not told", 0, []int{5, 0, 7}, 5 + 7},
		{"more than told", 10, []int{10, 10, 10}, 12 * 3},
		{"less than told", slabSize, []int{10, 10}, slabSize},
		{"large", slabSize, []int{apartFrom, slabSize, slabSize + 1}, apartFrom + slabSize*9/4},
	} {
		var held []memory
		for round := range byte(3) { // the second has the memory of the first, the third not that of the second
			var m memory
			for left := test.expected; left > 0; left -= apartFrom / 2 {
				m.expect(min(left, apartFrom/2))
			}
			var all [][]byte
			for i, size := range test.sizes {
				of := m.take(size)
				if len(of) != size {
					t.Fatalf("%s: %d octets, want %d", test.name, len(of), size)
				}
				for k := range of {
					of[k] = byte(i) ^ round<<6
				}
				all = append(all, of)
			}
			taken := 0
			for _, b := range m.taken {
				taken += len(b.octets)
			}
			if taken > test.most {
				t.Errorf("%s: %d octets of memory, at most %d", test.name, taken, test.most)
			}
			for i, of := range all {
				if n := bytes.Count(of, []byte{byte(i) ^ round<<6}); n != len(of) {
					t.Errorf("%s: %d of the %d octets of message %d are another's", test.name, len(of)-n, len(of), i)
				}
			}
			if held = append(held, m); round == 0 {
				m.release()
			}
		}
		mine, theirs := held[1].taken, held[2].taken
		if slices.ContainsFunc(mine, func(b *buffer) bool { return slices.Contains(theirs, b) }) {
			t.Errorf("%s: two have the same memory", test.name)
		}
	}
}

// TestRoomy: memory that is given back is found again by whoever needs as much.
func TestRoomy(t *testing.T) {
	sizes := make(map[int]int) // by class
	for size := 1; size < 3<<20; size++ {
		octets, class := roomy(size)
		if octets < size || octets > size+size/4+1 || class < 0 || class >= len(buffers) {
			t.Fatalf("%d octets get %d, in class %d", size, octets, class)
		}
		if was, known := sizes[class]; known && was != octets {
			t.Fatalf("class %d has %d octets, and %d for %d", class, was, octets, size)
		}
		sizes[class] = octets
	}
}
