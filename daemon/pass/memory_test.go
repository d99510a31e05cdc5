package pass

import (
	"slices"
	"testing"
)

// TestSlab: messages lie side by side and never in one another, and no more memory is
// taken than is expected, or what comes against expectation needs.
func TestSlab(t *testing.T) {
	for _, test := range []struct {
		name     string
		expected int
		sizes    []int
		most     int // octets
	}{
		{"one", 1000, []int{1000}, 1000},
		{"many", 200 * 3000, slices.Repeat([]int{3000}, 200), 200*3000 + 3*3000},
		{"not told", 0, []int{5, 0, 7}, 12},
		{"more than told", 10, []int{10, 10, 10}, 30},
		{"less than told", 1 << 30, []int{10, 10}, slabSize},
		{"large", 0, []int{apartFrom, slabSize}, apartFrom + slabSize},
	} {
		s := slab{expected: test.expected}
		taken, left := 0, 0
		var all [][]byte
		for i, size := range test.sizes {
			m := s.take(size)
			if len(m) != size || cap(m) != size {
				t.Errorf("%s: %d octets with room for %d, want %d", test.name, len(m), cap(m), size)
			}
			for k := range m {
				if m[k] != 0 {
					t.Fatalf("%s: message %d lies in another", test.name, i)
				}
				m[k] = 1
			}
			all = append(all, m)
			if size >= apartFrom || size > left {
				if taken += size; size < apartFrom {
					taken += len(s.free)
				}
			}
			left = len(s.free)
		}
		if taken > test.most {
			t.Errorf("%s: %d octets of memory for %d messages, at most %d", test.name, taken, len(all), test.most)
		}
	}
}
