package iam

import "slices"

// states are the states of a product that have been met, in the order in which they were.
type states struct {
	nodes []node
	table []int32 // by hash: a node's number plus 1, or 0; its length is a power of two
	room  []int32 // where the next positions are put
}

// node is one state and how it was reached.
type node struct {
	at     []int32
	parent int32 // -1 for the first
	by     rune
	hash   uint32
	dead   bool // nothing interesting comes after it
}

// The least sizes of a table and of a room.
const (
	tableSize = 64
	roomSize  = 1024
)

// add notes a state, and returns its node if it is new. The positions are copied.
func (s *states) add(at []int32, parent int32, by rune) *node {
	if 2*len(s.nodes) >= len(s.table) {
		s.grow()
	}
	h := hashOf(at)
	i := s.slot(h, at)
	if s.table[i] != 0 {
		return nil
	}
	if len(at) > cap(s.room)-len(s.room) {
		s.room = make([]int32, 0, max(roomSize, len(at)))
	}
	from := len(s.room)
	s.room = append(s.room, at...)
	s.nodes = append(s.nodes, node{at: s.room[from:len(s.room):len(s.room)], parent: parent, by: by, hash: h})
	s.table[i] = int32(len(s.nodes)) //nolint:gosec // as many as the budget has
	return &s.nodes[len(s.nodes)-1]
}

// slot returns where in the table a state is, or would be.
func (s *states) slot(h uint32, at []int32) int {
	mask := len(s.table) - 1
	for i := int(h) & mask; ; i = (i + 1) & mask {
		n := s.table[i]
		if n == 0 || (s.nodes[n-1].hash == h && slices.Equal(s.nodes[n-1].at, at)) {
			return i
		}
	}
}

func (s *states) grow() {
	s.table = make([]int32, max(tableSize, 4*len(s.nodes)))
	mask := len(s.table) - 1
	for n := range s.nodes {
		i := int(s.nodes[n].hash) & mask
		for s.table[i] != 0 {
			i = (i + 1) & mask
		}
		s.table[i] = int32(n + 1)
	}
}

func hashOf(at []int32) uint32 {
	h := uint64(len(at))
	for _, pos := range at {
		h = (h ^ uint64(uint32(pos))) * 0x9e3779b97f4a7c15 //nolint:gosec // positions are not negative
		h ^= h >> 32
	}
	return uint32(h) //nolint:gosec // the lower half is as good as any
}

// text returns the characters that lead to a state.
func (s *states) text(i int) string {
	var rs []rune
	for ; s.nodes[i].parent >= 0; i = int(s.nodes[i].parent) {
		rs = append(rs, s.nodes[i].by)
	}
	slices.Reverse(rs)
	return string(rs)
}
