package sim

// slab gives out objects by number. They do not move, and are used again.
type slab[T any] struct {
	blocks [][]T
	free   []int32
	next   int32
}

const slabBlock = 1024

// get returns an object and its number. An object that was used before is as it
// was left.
func (s *slab[T]) get() (*T, int32) {
	if n := len(s.free); n > 0 {
		id := s.free[n-1]
		s.free = s.free[:n-1]
		return s.at(id), id
	}
	id := s.next
	s.next++
	if int(id)%slabBlock == 0 {
		s.blocks = append(s.blocks, make([]T, slabBlock))
	}
	return s.at(id), id
}

// at is the object of a number.
func (s *slab[T]) at(id int32) *T { return &s.blocks[id/slabBlock][id%slabBlock] }

// put gives an object back.
func (s *slab[T]) put(id int32) { s.free = append(s.free, id) }

// used is how many are given out.
func (s *slab[T]) used() int { return int(s.next) - len(s.free) }
