package report_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/report"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 123456000, time.UTC)

// at is the state of a rollout of r2 over r1 in phase p.
func at(p plan.Phase) plan.State {
	return plan.State{
		Phase: p, Since: noon, Stable: "r1", Candidate: "r2", Rollout: 1, Attempt: 1, Split: plan.AllPrimary(), Replicas: 2, StartedAt: noon,
	}
}

// input is a decision that leads from one state to the next.
func input(was, is plan.State, edits ...func(*report.Input)) report.Input {
	in := report.Input{
		Generation: 4, Evidence: "Accepted",
		Decision: plan.Decision{Next: is, Why: "because"},
		Snapshot: plan.Snapshot{
			Now: noon, State: was, Spec: plan.Spec{Steps: plan.Ladder(20, 60, time.Minute)}, Route: plan.Route{Known: true, Current: is.Split},
		},
		Describe: func(name string) siskinv1.RevisionStatus {
			return siskinv1.RevisionStatus{Image: "web:" + name, Commit: "main@sha1:" + name, Author: "Ann", CommitMessage: "change " + name}
		},
	}
	for _, edit := range edits {
		edit(&in)
	}
	return in
}

func suspended(in *report.Input) { in.Snapshot.Spec.Suspend = true }

func stalled(reason string) func(*report.Input) {
	return func(in *report.Input) { in.Decision.Stalled = reason }
}

func paused(in *report.Input) { in.Decision.Next.Paused = true }

func pausedFor(d time.Duration) func(*report.Input) {
	return func(in *report.Input) { in.Decision.Next.PausedUntil = noon.Add(d) }
}

// computed is what kstatus, and so kubectl wait, Flux and Argo CD, make of a status.
func computed(t *testing.T, st siskinv1.CanaryStatus, generation int64) status.Status {
	t.Helper()
	c := &siskinv1.Canary{
		TypeMeta:   metav1.TypeMeta{APIVersion: "siskin.dev/v1", Kind: "Canary"},
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Generation: generation}, Status: st,
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(c)
	if err != nil {
		t.Fatal(err)
	}
	res, err := status.Compute(&unstructured.Unstructured{Object: content})
	if err != nil {
		t.Fatal(err)
	}
	return res.Status
}

// conditions in short: Type=Status/Reason.
func short(st siskinv1.CanaryStatus) string {
	var parts []string
	for _, kind := range []string{siskinv1.ConditionReady, siskinv1.ConditionReconciling, siskinv1.ConditionStalled, siskinv1.ConditionPromoted} {
		if c := meta.FindStatusCondition(st.Conditions, kind); c != nil {
			parts = append(parts, fmt.Sprintf("%s=%s/%s", kind, c.Status, c.Reason))
		}
	}
	return strings.Join(parts, " ")
}

func TestConditions(t *testing.T) {
	ahead := func(in *report.Input) { in.Snapshot.Target = plan.Target{Found: true, Revision: "web-next"} }
	held := func(in *report.Input) { in.Decision.Held = "CapabilitiesUnknown"; ahead(in) }
	for name, tc := range map[string]struct {
		reason  string
		phase   plan.Phase
		edit    func(*report.Input)
		want    string
		kstatus status.Status
	}{
		"initializing":      {"the primary does not serve yet", plan.Initializing, nil, "Ready=False/Initializing Reconciling=True/Initializing Promoted=Unknown/Initializing", status.InProgressStatus},
		"initialized":       {"what git says serves", plan.Initialized, nil, "Ready=True/Initialized Promoted=True/Initialized", status.CurrentStatus},
		"waiting":           {"a gate is part of a rollout", plan.Waiting, nil, "Ready=False/Waiting Reconciling=True/Waiting Promoted=Unknown/Waiting", status.InProgressStatus},
		"progressing":       {"the rollout goes on", plan.Progressing, nil, "Ready=False/Progressing Reconciling=True/Progressing Promoted=Unknown/Progressing", status.InProgressStatus},
		"waiting promotion": {"all steps passed, nothing is promoted", plan.WaitingPromotion, nil, "Ready=False/WaitingPromotion Reconciling=True/WaitingPromotion Promoted=Unknown/WaitingPromotion", status.InProgressStatus},
		"promoting":         {"the primary is not there yet", plan.Promoting, nil, "Ready=False/Promoting Reconciling=True/Promoting Promoted=Unknown/Promoting", status.InProgressStatus},
		"finalising":        {"traffic is still being given back", plan.Finalising, nil, "Ready=False/Finalising Reconciling=True/Finalising Promoted=Unknown/Finalising", status.InProgressStatus},
		"succeeded":         {"kubectl wait --for=condition=Promoted ends", plan.Succeeded, nil, "Ready=True/Succeeded Promoted=True/Succeeded", status.CurrentStatus},
		"rolling back":      {"the outcome is known, the work goes on", plan.RollingBack, nil, "Ready=False/RollingBack Reconciling=True/RollingBack Promoted=False/RollingBack", status.InProgressStatus},
		"failed":            {"git asks for what is not served: a pipeline must go red", plan.Failed, nil, "Ready=False/RolledBack Stalled=True/RolledBack Promoted=False/Failed", status.FailedStatus},
		"cancelled":         {"the target is back at what serves", plan.Cancelled, nil, "Ready=True/Cancelled Promoted=True/Cancelled", status.CurrentStatus},
		"terminating":       {"the target is being restored", plan.Terminating, nil, "Ready=False/Terminating Reconciling=True/Terminating Promoted=Unknown/Terminating", status.InProgressStatus},
		"frozen":            {"a person must decide: a pipeline must go red", plan.Frozen, stalled("Frozen"), "Ready=False/Frozen Stalled=True/Frozen Promoted=Unknown/Frozen", status.FailedStatus},
		"baking":            {"it is promoted: kubectl wait ends; what the bake finds comes later", plan.Baking, nil, "Ready=True/Baking Promoted=True/Baking", status.CurrentStatus},
		"paused":            {"it goes on when a person says so", plan.Progressing, paused, "Ready=False/Paused Reconciling=True/Paused Promoted=Unknown/Progressing", status.InProgressStatus},
		"paused for a time": {"it goes on by itself", plan.Progressing, pausedFor(time.Minute), "Ready=False/Paused Reconciling=True/Paused Promoted=Unknown/Progressing", status.InProgressStatus},
		"paused, over":      {"nothing holds it", plan.Progressing, pausedFor(-time.Minute), "Ready=False/Progressing Reconciling=True/Progressing Promoted=Unknown/Progressing", status.InProgressStatus},
		"paused, suspended": {"the suspension is what holds it", plan.Progressing, func(in *report.Input) { paused(in); suspended(in) }, "Ready=False/Suspended Promoted=Unknown/Progressing", status.InProgressStatus},
		"paused, stalled":   {"what only a person can mend goes first", plan.Progressing, func(in *report.Input) { paused(in); stalled("AnalysisInvalid")(in) }, "Ready=False/AnalysisInvalid Stalled=True/AnalysisInvalid Promoted=Unknown/Progressing", status.FailedStatus},
		"suspended rollout": {"nothing is going on, and it is not done", plan.Progressing, suspended, "Ready=False/Suspended Promoted=Unknown/Progressing", status.InProgressStatus},
		"suspended idle":    {"what git said last serves", plan.Succeeded, suspended, "Ready=True/Suspended Promoted=True/Succeeded", status.CurrentStatus},
		"stalled rollout":   {"only a person can help", plan.Progressing, stalled("AnalysisInvalid"), "Ready=False/AnalysisInvalid Stalled=True/AnalysisInvalid Promoted=Unknown/Progressing", status.FailedStatus},
		"stalled idle":      {"the target is gone, the primary goes on serving", plan.Succeeded, stalled("TargetNotFound"), "Ready=False/TargetNotFound Stalled=True/TargetNotFound Promoted=True/Succeeded", status.FailedStatus},
		"held idle":         {"a new revision waits for what may come by itself", plan.Succeeded, held, "Ready=False/CapabilitiesUnknown Reconciling=True/CapabilitiesUnknown Promoted=Unknown/CapabilitiesUnknown", status.InProgressStatus},
		"suspended, ahead":  {"what git says now is not what serves", plan.Succeeded, func(in *report.Input) { suspended(in); ahead(in) }, "Ready=True/Suspended Promoted=Unknown/Suspended", status.CurrentStatus},
		"invalid, ahead":    {"the new revision is not served until a person mends the spec", plan.Succeeded, func(in *report.Input) { stalled("InvalidSpec")(in); ahead(in) }, "Ready=False/InvalidSpec Stalled=True/InvalidSpec Promoted=Unknown/InvalidSpec", status.FailedStatus},
		"rolled back to":    {"the target has what a person went back from: nothing waits", plan.Succeeded, func(in *report.Input) { ahead(in); in.Decision.Next.Rejected = "web-next" }, "Ready=True/Succeeded Promoted=True/Succeeded", status.CurrentStatus},
		"held failure":      {"the fix waits, and is no failure", plan.Failed, held, "Ready=False/CapabilitiesUnknown Reconciling=True/CapabilitiesUnknown Promoted=False/Failed", status.InProgressStatus},
		"held rollout":      {"it goes on by itself", plan.Progressing, held, "Ready=False/CapabilitiesUnknown Reconciling=True/CapabilitiesUnknown Promoted=Unknown/Progressing", status.InProgressStatus},
		"held, stalled":     {"what only a person can mend goes first", plan.Progressing, func(in *report.Input) { held(in); stalled("RouteRejected")(in) }, "Ready=False/RouteRejected Stalled=True/RouteRejected Promoted=Unknown/Progressing", status.FailedStatus},
		"stalled failure":   {"what can be mended now is told first", plan.Failed, stalled("PrimaryNotReady"), "Ready=False/PrimaryNotReady Stalled=True/PrimaryNotReady Promoted=False/Failed", status.FailedStatus},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(at(tc.phase), at(tc.phase))
			if tc.edit != nil {
				tc.edit(&in)
			}
			// What an earlier decision left must not show through.
			before := report.Status(&siskinv1.CanaryStatus{}, input(at(plan.Failed), at(plan.Failed)))
			for _, b := range []siskinv1.CanaryStatus{{}, before} {
				st := *stored(t, report.Status(&b, in))
				if diff := cmp.Diff(tc.want, short(st)); diff != "" {
					t.Errorf("%s: -want +got\n%s", tc.reason, diff)
				}
				if got := computed(t, st, 4); got != tc.kstatus {
					t.Errorf("%s: kstatus says %s, want %s", tc.reason, got, tc.kstatus)
				}
				for _, c := range st.Conditions {
					if c.ObservedGeneration != 4 || c.Message != "because" {
						t.Errorf("condition %+v", c)
					}
				}
			}
		})
	}
}

func TestAnEditIsInProgressUntilItIsObserved(t *testing.T) {
	st := report.Status(&siskinv1.CanaryStatus{}, input(at(plan.Succeeded), at(plan.Succeeded)))
	if got := computed(t, st, 5); got != status.InProgressStatus {
		t.Errorf("kstatus says %s of a status that answers an older spec", got)
	}
}

// Between two checks nobody asks the gate that holds a rollout: who looks at the status then reads what it said.
func TestAGateIsNamedBetweenItsChecks(t *testing.T) {
	asked := input(at(plan.WaitingPromotion), at(plan.WaitingPromotion), func(in *report.Input) {
		in.Decision.Why, in.Decision.WaitingFor = "gate lead holds it", []string{"confirm-promotion lead: not today"}
	})
	before := report.Status(&siskinv1.CanaryStatus{}, asked)
	between := func(edit func(*plan.Decision)) siskinv1.CanaryStatus {
		return report.Status(&before, input(at(plan.WaitingPromotion), at(plan.WaitingPromotion), func(in *report.Input) {
			in.Decision.Still, in.Decision.Why = true, "step 2 of 2"
			edit(&in.Decision)
		}))
	}
	same := between(func(*plan.Decision) {})
	if report.Compare(&before, &same) != report.Same {
		t.Errorf("a look that asks nobody tells something else: %s, %v", same.Message, same.WaitingFor)
	}
	before.WaitingFor = append(before.WaitingFor, "the route: not accepted")
	if st := between(func(*plan.Decision) {}); len(st.WaitingFor) > 0 {
		t.Errorf("what was waited for beside the gate may be over: %v", st.WaitingFor)
	}
	before.WaitingFor = before.WaitingFor[:1]
	for name, edit := range map[string]func(*plan.Decision){
		"a person must act":    func(d *plan.Decision) { d.Stalled = "RouteRejected" },
		"something else waits": func(d *plan.Decision) { d.WaitingFor = []string{"the route"} },
	} {
		if st := between(edit); st.Message != "step 2 of 2" {
			t.Errorf("%s: that is told: %s", name, st.Message)
		}
	}
}

func TestEveryPhaseHasConditions(t *testing.T) {
	for _, p := range phases {
		st := report.Status(&siskinv1.CanaryStatus{}, input(at(p), at(p), func(in *report.Input) { in.Decision.Why = "" }))
		for _, c := range st.Conditions {
			if c.Reason == "" || c.Message == "" {
				t.Errorf("%s: the API server refuses %+v", p, c)
			}
		}
	}
}

func TestAConditionTellsSinceWhen(t *testing.T) {
	st := report.Status(&siskinv1.CanaryStatus{}, input(at(plan.Waiting), at(plan.Waiting)))
	later := input(at(plan.Waiting), at(plan.Progressing), func(in *report.Input) { in.Snapshot.Now = noon.Add(time.Hour) })
	st = report.Status(&st, later)
	if c := meta.FindStatusCondition(st.Conditions, siskinv1.ConditionReady); !c.LastTransitionTime.Time.Equal(noon) {
		t.Errorf("Ready has been False since %s, not %s", noon, c.LastTransitionTime)
	}
}

func TestStatusLeavesTheOldOneAlone(t *testing.T) {
	before := report.Status(&siskinv1.CanaryStatus{}, input(at(plan.Waiting), at(plan.Waiting)))
	before.History = []siskinv1.HistoryEntry{{Revision: "r0"}}
	copied := before.DeepCopy()
	next := at(plan.Failed)
	next.Results = []plan.Result{{Name: "x", Answer: plan.Answer{Message: strings.Repeat("x", 3000)}}}
	st := report.Status(&before, input(at(plan.Progressing), next))
	if diff := cmp.Diff(copied, &before); diff != "" {
		t.Errorf("-was +is\n%s", diff)
	}
	if n := len(st.Checks[0].Message); n > 1024 {
		t.Errorf("an answer of %d bytes is stored", n)
	}
}

func TestStatusTexts(t *testing.T) {
	in := input(at(plan.Progressing), at(plan.Progressing), func(in *report.Input) {
		in.Decision.Why = strings.Repeat("y", 3000)
		in.Decision.WaitingFor = []string{"the canary", strings.Repeat("z", 3000)}
	})
	st := report.Status(&siskinv1.CanaryStatus{WaitingFor: []string{"old"}}, in)
	if len(st.Message) > 1024 || len(st.WaitingFor) != 2 || st.WaitingFor[0] != "the canary" || len(st.WaitingFor[1]) > 1024 {
		t.Errorf("message of %d bytes, waiting for %d", len(st.Message), len(st.WaitingFor))
	}
	in.Decision.Next.Request = plan.Reply{Value: "x", Message: strings.Repeat("w", 3000)}
	if n := len(report.Status(&siskinv1.CanaryStatus{}, in).Request.Message); n > 1024 {
		t.Errorf("an answer to a person of %d bytes", n)
	}
	if st.ObservedGeneration != 4 || st.Split.Evidence != "Accepted" {
		t.Errorf("generation %d, evidence %q", st.ObservedGeneration, st.Split.Evidence)
	}
}

func TestEvidenceIsThatOfTheSplitThatWasObserved(t *testing.T) {
	next := at(plan.Progressing)
	next.Split = plan.ToCanary(20)
	in := input(at(plan.Progressing), next, func(in *report.Input) { in.Snapshot.Route.Current = plan.AllPrimary() })
	if st := report.Status(&siskinv1.CanaryStatus{}, in); st.Split.Evidence != "" {
		t.Errorf("nobody has seen 20 %% yet, and still %q", st.Split.Evidence)
	}
}

func TestARevisionIsDescribedOnce(t *testing.T) {
	asked := map[string]int{}
	in := input(at(plan.Progressing), at(plan.Progressing))
	describe := in.Describe
	in.Describe = func(name string) siskinv1.RevisionStatus { asked[name]++; return describe(name) }
	st := report.Status(&siskinv1.CanaryStatus{}, in)
	want := &siskinv1.RevisionStatus{Revision: "r2", Image: "web:r2", Commit: "main@sha1:r2", Author: "Ann", CommitMessage: "change r2"}
	if diff := cmp.Diff(want, st.Canary); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	// By now the snapshot may have been collected.
	in.Describe = func(string) siskinv1.RevisionStatus { asked["again"]++; return siskinv1.RevisionStatus{} }
	st = report.Status(&st, in)
	if diff := cmp.Diff(want, st.Canary); diff != "" {
		t.Errorf("what was known is forgotten: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"r1": 1, "r2": 1}, asked); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	in.Describe = nil
	report.Status(&siskinv1.CanaryStatus{}, in) // nobody knows anything: that is no reason to fail
}
