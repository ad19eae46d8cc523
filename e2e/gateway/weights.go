package gateway

import "sync"

// wheel picks one of several by weight, exactly and evenly: of as many picks as the weights sum to each gets its weight, and they
// come interleaved.
type wheel struct {
	mu      sync.Mutex
	weights []int64
	credit  []int64
	total   int64
}

func newWheel(weights []int64) *wheel {
	w := &wheel{weights: weights, credit: make([]int64, len(weights))}
	for _, n := range weights {
		w.total += n
	}
	return w
}

// next returns the index of the next one, or -1 if nobody has a weight.
func (w *wheel) next() int {
	if w.total == 0 {
		return -1
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	best := -1
	for i, n := range w.weights {
		w.credit[i] += n
		if n > 0 && (best < 0 || w.credit[i] > w.credit[best]) {
			best = i
		}
	}
	w.credit[best] -= w.total
	return best
}

// share lets n of every m through, evenly.
type share struct {
	mu   sync.Mutex
	n, m int64
	debt int64
}

func (s *share) next() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.debt += s.n
	if s.debt < s.m {
		return false
	}
	s.debt -= s.m
	return true
}
