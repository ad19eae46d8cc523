package report_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/report"
)

func TestHistory(t *testing.T) {
	start, end := metav1.NewMicroTime(noon), metav1.NewMicroTime(noon)
	entry := func(outcome, cause string) []siskinv1.HistoryEntry {
		return []siskinv1.HistoryEntry{{
			Revision: "r2", Image: "web:r2", Commit: "main@sha1:r2", Author: "Ann", CommitMessage: "change r2",
			Outcome: outcome, Cause: cause, StartedAt: &start, EndedAt: end,
		}}
	}
	caused := func(p plan.Phase) plan.State {
		z := at(p)
		z.Cause = "metric error-rate is 17 %"
		return z
	}
	newer := at(plan.Progressing)
	newer.Rollout, newer.Candidate = 2, "r3"
	first := plan.State{Phase: plan.Initializing, Stable: "r1"}
	ready := first
	ready.Phase = plan.Initialized
	for name, tc := range map[string]struct {
		reason  string
		was, is plan.State
		want    []siskinv1.HistoryEntry
	}{
		"promoted":              {"the usual end", at(plan.Promoting), at(plan.Succeeded), entry("Succeeded", "")},
		"given back":            {"the end after a promotion in steps", at(plan.Finalising), at(plan.Succeeded), entry("Succeeded", "")},
		"taken back":            {"people want to know why", caused(plan.RollingBack), caused(plan.Failed), entry("Failed", "metric error-rate is 17 %")},
		"cancelled":             {"the target returned", caused(plan.RollingBack), caused(plan.Cancelled), entry("Cancelled", "metric error-rate is 17 %")},
		"replaced":              {"the image that was tried is the old one's, not the new one's", at(plan.Progressing), newer, entry("Superseded", "replaced by r3")},
		"replaced at the gate":  {"one that never began was a rollout too", at(plan.Waiting), newer, entry("Superseded", "replaced by r3")},
		"the next one":          {"the one before has its entry already", at(plan.Succeeded), newer, nil},
		"going on":              {"nothing ended", at(plan.Progressing), at(plan.Promoting), nil},
		"still there":           {"an end is told once", at(plan.Failed), at(plan.Failed), nil},
		"initialized":           {"that was no rollout", first, ready, nil},
		"the target is back":    {"the failure has its entry already", at(plan.Failed), at(plan.Initialized), nil},
		"initialized once more": {"an initialisation after rollouts is none itself", at(plan.Initializing), at(plan.Initialized), nil},
	} {
		t.Run(name, func(t *testing.T) {
			before := report.Status(&siskinv1.CanaryStatus{}, input(tc.was, tc.was))
			st := report.Status(&before, input(tc.was, tc.is))
			if diff := cmp.Diff(tc.want, st.History); diff != "" {
				t.Errorf("%s: -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func TestHistoryIsBoundedNewestFirst(t *testing.T) {
	var st siskinv1.CanaryStatus
	for i := range 15 {
		was, is := at(plan.Promoting), at(plan.Succeeded)
		was.Candidate, is.Candidate = fmt.Sprintf("r%d", i), fmt.Sprintf("r%d", i)
		st = report.Status(&st, input(was, is))
	}
	if len(st.History) != report.HistoryLimit || st.History[0].Revision != "r14" || st.History[9].Revision != "r5" {
		t.Errorf("%d entries, from %s to %s", len(st.History), st.History[0].Revision, st.History[len(st.History)-1].Revision)
	}
}

func TestACauseIsClipped(t *testing.T) {
	z := at(plan.RollingBack)
	z.Cause = strings.Repeat("x", 5000)
	is := z
	is.Phase = plan.Failed
	if st := report.Status(&siskinv1.CanaryStatus{}, input(z, is)); len(st.History[0].Cause) > 1024 {
		t.Errorf("a cause of %d bytes", len(st.History[0].Cause))
	}
}

func TestIterations(t *testing.T) {
	blueGreen := func(in *report.Input) { in.Snapshot.Spec.Steps = plan.BlueGreen(3, time.Minute) }
	for name, tc := range map[string]struct {
		reason string
		phase  plan.Phase
		step   int
		edit   func(*report.Input)
		want   int32
	}{
		"before the first":  {"no check has passed", plan.Progressing, 0, blueGreen, 0},
		"in the first":      {"its check is not in", plan.Progressing, 1, blueGreen, 0},
		"in the third":      {"two have passed", plan.Progressing, 3, blueGreen, 2},
		"after the switch":  {"three have passed", plan.Progressing, 4, blueGreen, 3},
		"steps were edited": {"it never shows more than there are", plan.Promoting, 9, blueGreen, 3},
		"done":              {"no rollout goes on", plan.Succeeded, 4, blueGreen, 0},
		"a canary release":  {"it has steps, not iterations", plan.Progressing, 3, func(*report.Input) {}, 0},
		"no steps":          {"analysis is skipped", plan.Promoting, 0, func(in *report.Input) { in.Snapshot.Spec.Steps = nil }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			z := at(tc.phase)
			z.Step = tc.step
			if st := report.Status(&siskinv1.CanaryStatus{}, input(z, z, tc.edit)); st.Iterations != tc.want {
				t.Errorf("%s: %d, want %d", tc.reason, st.Iterations, tc.want)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	base := report.Status(&siskinv1.CanaryStatus{}, input(at(plan.Progressing), at(plan.Progressing)))
	for name, tc := range map[string]struct {
		reason string
		edit   func(*siskinv1.CanaryStatus)
		want   report.Change
	}{
		"nothing":     {"no write", func(*siskinv1.CanaryStatus) {}, report.Same},
		"message":     {"a sentence for people", func(st *siskinv1.CanaryStatus) { st.Message = "other" }, report.Text},
		"waiting for": {"a list for people", func(st *siskinv1.CanaryStatus) { st.WaitingFor = []string{"x"} }, report.Text},
		"evidence":    {"no decision reads it from status", func(st *siskinv1.CanaryStatus) { st.Split.Evidence = "Served" }, report.Text},
		"cookies": {"they go along with the decision that they follow from", func(st *siskinv1.CanaryStatus) {
			st.SessionAffinityCookie, st.PrimarySessionAffinityCookie, st.PreviousSessionAffinityCookie = "a=1", "b=2", "c=3"
		}, report.Same},
		"its message": {"a condition repeats the message", func(st *siskinv1.CanaryStatus) { st.Conditions[0].Message = "x" }, report.Same},
		"order":       {"conditions are a map", func(st *siskinv1.CanaryStatus) { c := st.Conditions; c[0], c[1] = c[1], c[0] }, report.Same},
		"empty list":  {"the API server stores none", func(st *siskinv1.CanaryStatus) { st.History = []siskinv1.HistoryEntry{} }, report.Same},
		"phase":       {"a decision", func(st *siskinv1.CanaryStatus) { st.Phase = "Promoting" }, report.Decision},
		"split":       {"a decision", func(st *siskinv1.CanaryStatus) { st.Split.Canary = 20 }, report.Decision},
		"clock": {"it must survive a restart", func(st *siskinv1.CanaryStatus) {
			st.Step.StartedAt = &metav1.MicroTime{Time: noon.Add(time.Microsecond)}
		}, report.Decision},
		"same clock": {"another zone is the same time", func(st *siskinv1.CanaryStatus) {
			l := metav1.NewMicroTime(noon.In(time.FixedZone("x", 3600)))
			st.LastTransitionTime = &l
		}, report.Same},
		"reason":         {"somebody may wait for it", func(st *siskinv1.CanaryStatus) { st.Conditions[0].Reason = "X" }, report.Decision},
		"generation":     {"somebody waits for it", func(st *siskinv1.CanaryStatus) { st.ObservedGeneration++ }, report.Decision},
		"text and phase": {"the decision counts", func(st *siskinv1.CanaryStatus) { st.Message, st.Phase = "x", "Failed" }, report.Decision},
		"no split":       {"the first decision", func(st *siskinv1.CanaryStatus) { st.Split = nil }, report.Decision},
	} {
		t.Run(name, func(t *testing.T) {
			is := base.DeepCopy()
			tc.edit(is)
			was, copied := base.DeepCopy(), is.DeepCopy()
			if got := report.Compare(was, is); got != tc.want {
				t.Errorf("%s: %d, want %d", tc.reason, got, tc.want)
			}
			if diff := cmp.Diff(copied, is) + cmp.Diff(&base, was); diff != "" {
				t.Errorf("comparing changed them:\n%s", diff)
			}
		})
	}
	if got := report.Compare(&siskinv1.CanaryStatus{}, &siskinv1.CanaryStatus{}); got != report.Same {
		t.Errorf("two empty statuses: %d", got)
	}
}
