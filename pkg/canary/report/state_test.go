package report_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/report"
)

var phases = []plan.Phase{
	plan.Initializing, plan.Initialized, plan.Waiting, plan.Progressing, plan.WaitingPromotion, plan.Promoting, plan.Finalising,
	plan.Succeeded, plan.RollingBack, plan.Failed, plan.Cancelled, plan.Terminating,
}

// dice draws states as a plan may make them.
type dice struct{ *rand.Rand }

func (d dice) yes() bool { return d.IntN(2) == 0 }

func (d dice) text(name string) string {
	if d.yes() {
		return ""
	}
	return fmt.Sprintf("%s-%d", name, d.IntN(1000))
}

// time is a time of whole microseconds, or none.
func (d dice) time() time.Time {
	if d.IntN(4) == 0 {
		return time.Time{}
	}
	return time.UnixMicro(d.Int64N(4e15)).UTC()
}

func (d dice) results() []plan.Result {
	var out []plan.Result
	for range d.IntN(4) {
		out = append(out, plan.Result{
			Name: fmt.Sprintf("check-%d", d.IntN(9)), Kind: []string{"metric", "webhook", "pods"}[d.IntN(3)],
			Answer: plan.Answer{
				Verdict: []plan.Verdict{plan.Pass, plan.Fail, plan.Inconclusive}[d.IntN(3)],
				Value:   d.text("value"), Limit: d.text("limit"), Message: d.text("message"), Invalid: d.yes(),
			},
		})
	}
	return out
}

func (d dice) state() plan.State {
	z := plan.State{
		Phase: phases[d.IntN(len(phases))], Since: d.time(), Stable: d.text("stable"), Candidate: d.text("candidate"), Rejected: d.text("rejected"),
		Split: plan.ToCanary(d.Int32N(101)), DrainUntil: d.time(), FailedChecks: d.Int32N(100), Replicas: d.Int32N(1000), Results: d.results(),
		Step: d.IntN(10001), Attempt: d.IntN(1 << 20), StepAt: d.time(), CheckAt: d.time(), Interval: time.Duration(d.IntN(1e9)) * time.Microsecond, EffectiveAt: d.time(), Deadline: d.time(),
		Late: d.yes(), Halted: d.yes(), Overdue: d.yes(), Paused: d.yes(), PausedUntil: d.time(),
	}
	for range d.IntN(3) {
		z.LastNotice += 1 + d.Int64N(3)
		n := plan.Notice{
			Number: z.LastNotice, Rollout: d.Int64N(3), At: time.UnixMicro(d.Int64N(4e15)).UTC(), Reason: "StepAdvanced",
			Severity: []plan.Severity{plan.Info, plan.Warning, plan.Error}[d.IntN(3)], Message: "step 1 of 2", Alert: d.yes(), Revision: d.text("revision"),
		}
		if d.yes() {
			n.Result = &plan.Result{Name: "errors", Kind: "metric", Answer: plan.Answer{Verdict: plan.Fail, Value: d.text("value")}}
		}
		z.Untold = append(z.Untold, n)
	}
	if d.yes() {
		z.Request = plan.Reply{Value: "promote@1", By: d.text("by"), Message: d.text("message"), Accepted: d.yes(), At: d.time()}
	}
	if z.Rollout = d.Int64N(5); z.Rollout == 0 {
		return z // before the first rollout nothing is known of one
	}
	z.Restarts = d.Int32N(3)
	z.StartedAt, z.TrafficAt, z.Cause, z.Previous, z.Reverting = d.time(), d.time(), d.text("cause"), d.text("previous"), d.yes()
	z.Direct, z.Forced, z.Floor, z.BakeUntil = d.yes(), d.yes(), d.Int32N(9), d.time()
	z.Outcome = []plan.Phase{"", plan.Failed, plan.Cancelled}[d.IntN(3)]
	for range d.IntN(3) {
		z.Passed = append(z.Passed, fmt.Sprintf("confirm-rollout/gate-%d", d.IntN(9)))
	}
	return z
}

// stored is a status after the API server has had it.
func stored(t *testing.T, st siskinv1.CanaryStatus) *siskinv1.CanaryStatus {
	t.Helper()
	raw, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	var out siskinv1.CanaryStatus
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

// What a decision depends on must survive the store: a field that is lost would make the next decision another one.
func TestAStoredStateIsReadBack(t *testing.T) {
	for range 300 {
		seed := rand.Uint64()
		d := dice{rand.New(rand.NewPCG(seed, 0))}
		var st siskinv1.CanaryStatus
		for range 3 { // one status holds one state after the other
			want := d.state()
			report.SetState(&st, want, 10)
			if diff := cmp.Diff(want, report.State(&st)); diff != "" {
				t.Fatalf("seed=%d: in memory: -want +got\n%s", seed, diff)
			}
			st = *stored(t, st)
			if diff := cmp.Diff(want, report.State(&st)); diff != "" {
				t.Fatalf("seed=%d: stored: -want +got\n%s", seed, diff)
			}
		}
	}
}

func TestEveryFieldOfAStateIsStored(t *testing.T) {
	// Drawn often enough, no field stays at its zero value: a new field that dice forgets shows here.
	seen := map[string]bool{}
	d := dice{rand.New(rand.NewPCG(1, 0))}
	for range 200 {
		raw, err := json.Marshal(d.state())
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(raw, &fields); err != nil {
			t.Fatal(err)
		}
		for name, v := range fields {
			switch v {
			case nil, "", false, 0.0, "0001-01-01T00:00:00Z":
				seen[name] = seen[name] || false
			default:
				seen[name] = true
			}
		}
	}
	for name, ok := range seen {
		if !ok {
			t.Errorf("dice never draws %s", name)
		}
	}
}

func TestAStatusOfAnotherPastGivesAState(t *testing.T) {
	if diff := cmp.Diff(plan.State{}, report.State(&siskinv1.CanaryStatus{})); diff != "" {
		t.Errorf("the state of an empty status: %s", diff)
	}
}

func TestSetStateKeepsWhatIsKnownOfARevision(t *testing.T) {
	known := &siskinv1.RevisionStatus{Revision: "r1", Image: "web:1", Commit: "main@sha1:1", Author: "Ann"}
	st := siskinv1.CanaryStatus{Stable: known, Canary: &siskinv1.RevisionStatus{Revision: "r2", Image: "web:2"}}
	report.SetState(&st, plan.State{Phase: plan.Progressing, Stable: "r1", Candidate: "r3", Step: 2}, 5)
	if diff := cmp.Diff(known, st.Stable); diff != "" {
		t.Errorf("the same revision: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(&siskinv1.RevisionStatus{Revision: "r3"}, st.Canary); diff != "" {
		t.Errorf("another revision has another image: -want +got\n%s", diff)
	}
	if st.Step.Summary != "2/5" {
		t.Errorf("summary %q", st.Step.Summary)
	}
	report.SetState(&st, plan.State{Phase: plan.Initialized, Stable: "r1"}, 5)
	if st.Canary != nil {
		t.Errorf("no revision is on trial: %+v", st.Canary)
	}
}
