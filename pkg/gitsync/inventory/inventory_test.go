package inventory

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func entry(id string) Entry {
	r, err := Parse(id)
	if err != nil {
		panic(err)
	}
	return Entry{Ref: r, Version: "v1"}
}

func entries(ids ...string) []Entry {
	out := []Entry{}
	for _, id := range ids {
		out = append(out, entry(id))
	}
	return out
}

func TestIDsReadBackWhatWasWritten(t *testing.T) {
	for name, c := range map[string]struct {
		ref Ref
		id  string
	}{
		"namespaced":                         {Ref{"prod", "podinfo", "apps", "Deployment"}, "prod_podinfo_apps_Deployment"},
		"the core group is empty":            {Ref{"prod", "podinfo", "", "Service"}, "prod_podinfo__Service"},
		"cluster-scoped":                     {Ref{"", "prod", "", "Namespace"}, "_prod__Namespace"},
		"names may hold underscores":         {Ref{"", "a_b__c", "rbac.authorization.k8s.io", "ClusterRole"}, "_a_b__c_rbac.authorization.k8s.io_ClusterRole"},
		"names may be made of underscores":   {Ref{"", "_", "", "ClusterRole"}, "____ClusterRole"},
		"names may start with an underscore": {Ref{"x", "_a", "", "Thing"}, "x__a__Thing"},
		"names may hold colons":              {Ref{"", "system:a", "", "ClusterRole"}, "_system:a__ClusterRole"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.ref.String(); got != c.id {
				t.Errorf("String() = %q, want %q", got, c.id)
			}
			got, err := Parse(c.id)
			if err != nil || got != c.ref {
				t.Errorf("Parse(%q) = %+v, %v, want %+v", c.id, got, err, c.ref)
			}
		})
	}
	for _, bad := range []string{"", "a", "a_b", "a_b_c", "___", "_a__", "a___K"} {
		if r, err := Parse(bad); !errors.Is(err, ErrInvalidID) {
			t.Errorf("Parse(%q) = %+v, %v, want ErrInvalidID", bad, r, err)
		}
	}
}

func TestDecisions(t *testing.T) {
	v2 := entry("n_a_g_K")
	v2.Version = "v2"
	for name, c := range map[string]struct {
		reason                      string
		recorded, want              []Entry
		intended, prunable, settled []Entry
		undeleted                   []Entry
	}{
		"first sync": {
			reason: "nothing was there, so nothing is pruned",
			want:   entries("n_a_g_K", "n_b_g_K"), intended: entries("n_a_g_K", "n_b_g_K"), settled: entries("n_a_g_K", "n_b_g_K"),
		},
		"an object left git": {
			reason:   "until it is deleted it stays recorded",
			recorded: entries("n_a_g_K", "n_b_g_K"), want: entries("n_a_g_K"),
			intended: entries("n_a_g_K", "n_b_g_K"), prunable: entries("n_b_g_K"), settled: entries("n_a_g_K"),
		},
		"a deletion failed": {
			reason:   "the next sync must try again",
			recorded: entries("n_a_g_K", "n_b_g_K"), want: entries("n_a_g_K"), undeleted: entries("n_b_g_K"),
			intended: entries("n_a_g_K", "n_b_g_K"), prunable: entries("n_b_g_K"), settled: entries("n_a_g_K", "n_b_g_K"),
		},
		"the API version changed": {
			reason:   "it is the same object",
			recorded: entries("n_a_g_K"), want: []Entry{v2}, intended: []Entry{v2}, settled: []Entry{v2},
		},
		"the namespace changed": {
			reason:   "it is another object",
			recorded: entries("m_a_g_K"), want: entries("n_a_g_K"),
			intended: entries("m_a_g_K", "n_a_g_K"), prunable: entries("m_a_g_K"), settled: entries("n_a_g_K"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			for what, pair := range map[string][2][]Entry{
				"Intended": {c.intended, Intended(c.recorded, c.want)},
				"Prunable": {c.prunable, Prunable(c.recorded, c.want)},
				"Settled":  {c.settled, Settled(c.want, c.undeleted)},
			} {
				if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
					t.Errorf("%s (%s):\n%s", what, c.reason, diff)
				}
			}
		})
	}
}

func TestEqualKnowsNoOrder(t *testing.T) {
	if !Equal(entries("n_a_g_K", "n_b_g_K"), entries("n_b_g_K", "n_a_g_K")) || Equal(entries("n_a_g_K"), nil) {
		t.Error("Equal is wrong")
	}
}

// world is a cluster and the inventory that was recorded for it.
type world struct {
	rnd      *rand.Rand
	live     map[Ref]bool
	recorded []Entry
}

// sync runs one sync that may crash after any step and whose applies and deletes may fail.
func (w *world) sync(want []Entry) (settled bool) {
	crash := func() bool { return w.rnd.IntN(8) == 0 }
	intended := Intended(w.recorded, want)
	if crash() {
		return false
	}
	w.recorded = intended
	for _, e := range want {
		if crash() {
			return false // the apply failed, or the process died
		}
		w.live[e.Ref] = true
	}
	var undeleted []Entry
	for _, e := range Prunable(w.recorded, want) {
		switch {
		case w.rnd.IntN(4) == 0:
			undeleted = append(undeleted, e)
		case crash():
			return false
		default:
			delete(w.live, e.Ref)
		}
	}
	if crash() {
		return false
	}
	w.recorded = Settled(want, undeleted)
	return len(undeleted) == 0
}

func (w *world) check(t *testing.T) {
	t.Helper()
	known := map[Ref]bool{}
	for _, e := range w.recorded {
		known[e.Ref] = true
	}
	for r := range w.live {
		if !known[r] {
			t.Fatalf("%s is in the cluster, but no inventory knows of it", r)
		}
	}
}

// Whatever crashes and fails: no object is ever in the cluster without being recorded, a wanted object is never pruned,
// and once a sync settles the cluster is exactly what git wants.
func TestRandomWorlds(t *testing.T) {
	for range 300 {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			w := &world{rnd: rand.New(rand.NewPCG(seed, 0)), live: map[Ref]bool{}}
			for range 60 {
				var want []Entry
				for i := range 6 {
					if w.rnd.IntN(2) == 0 {
						want = append(want, entry(fmt.Sprintf("n_o%d_g_K", i)))
					}
				}
				settled := w.sync(want)
				w.check(t)
				if settled && len(w.live) != len(want) {
					t.Fatalf("settled with %d objects, git wants %d", len(w.live), len(want))
				}
				for _, e := range want {
					if settled && !w.live[e.Ref] {
						t.Fatalf("settled, but %s is missing", e.Ref)
					}
				}
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("n_a_g_K")
	f.Fuzz(func(t *testing.T, id string) {
		r, err := Parse(id)
		if err == nil && r.String() != id {
			t.Errorf("Parse(%q).String() = %q", id, r)
		}
	})
}
