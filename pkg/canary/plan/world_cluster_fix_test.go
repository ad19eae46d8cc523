package plan

import "testing"

// TestSmallerWorkloadKeepsReadyPods: what is scaled down loses the pods first that do not serve, so that an update right after it still
// finds one that does.
func TestSmallerWorkloadKeepsReadyPods(t *testing.T) {
	for _, c := range []struct {
		name  string
		ready []bool
		want  int32
		left  int32 // ready pods afterwards
	}{
		{"the newest pods are not ready yet", []bool{true, true, true, false, false}, 1, 1},
		{"the oldest pods are not ready", []bool{false, false, true}, 1, 1},
		{"fewer are ready than are wanted", []bool{true, false, false}, 2, 1},
		{"all are ready", []bool{true, true, true}, 2, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(1, Spec{}, chances{})
			k := w.target
			k.found, k.rev, k.obsRev, k.replicas, k.obsReplicas = true, "r1", "r1", c.want, c.want
			for _, ready := range c.ready {
				k.pods = append(k.pods, &pod{rev: "r1", ready: ready})
			}
			k.roll()
			if n := int32(len(k.pods)); n != c.want || k.available() != c.left {
				t.Errorf("%d pods, %d ready; want %d, %d ready", n, k.available(), c.want, c.left)
			}
		})
	}
}
