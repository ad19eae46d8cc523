package report_test

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/report"
	"github.com/siskin-dev/siskin/pkg/notifier"
)

const longCommit = "main@sha1:0123456789abcdef0123456789abcdef01234567"

func TestEventText(t *testing.T) {
	for name, tc := range map[string]struct {
		reason   string
		revision siskinv1.RevisionStatus
		want     string
	}{
		"nothing known": {"a target that nobody committed has no origin", siskinv1.RevisionStatus{}, "taken back"},
		"image":         {"the image says most", siskinv1.RevisionStatus{Image: "web:2"}, "taken back (image web:2)"},
		"everything": {
			"a failure names revision, image, commit and author",
			siskinv1.RevisionStatus{Image: "web:2", Commit: longCommit, Author: "Ann"},
			"taken back (image web:2, commit main@0123456789ab, by Ann)",
		},
		"a short hash": {"it is shown as it is", siskinv1.RevisionStatus{Commit: "main@sha1:0123"}, "taken back (commit main@sha1:0123)"},
		"a tag":        {"it is no hash", siskinv1.RevisionStatus{Commit: "v1.2.3"}, "taken back (commit v1.2.3)"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := report.EventText(plan.Notice{Message: "taken back"}, tc.revision); got != tc.want {
				t.Errorf("%s: %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
}

// The API server refuses an event whose note has more than 1024 bytes: nobody would hear of it.
func TestNotesFitIntoAnEvent(t *testing.T) {
	for name, text := range map[string]string{
		"ascii":      strings.Repeat("x", 5000),
		"umlauts":    strings.Repeat("ä", 2000),
		"odd offset": "x" + strings.Repeat("世", 2000),
		"just over":  strings.Repeat("x", 1025),
		"just full":  strings.Repeat("x", 1024),
		"lines":      strings.Repeat("line\n", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			for _, note := range []string{report.Note(text), report.Note(report.EventText(plan.Notice{Message: text}, siskinv1.RevisionStatus{Image: "web:2"}))} {
				if len(note) > 1024 || !utf8.ValidString(note) || strings.Contains(note, "\n") {
					t.Errorf("%d bytes, valid %t: %q…", len(note), utf8.ValidString(note), note[:20])
				}
				if len(note) < 1000 {
					t.Errorf("only %d bytes are left of %d", len(note), len(text))
				}
			}
		})
	}
	if got := report.Note("short"); got != "short" {
		t.Errorf("a short text became %q", got)
	}
}

func TestMessage(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Name: "web-canary", Namespace: "shop", UID: "u"}}
	c.Spec.TargetRef.Name = "web"
	r := siskinv1.RevisionStatus{Image: "web:2", Commit: longCommit, Author: "Ann", CommitMessage: "faster"}
	n := plan.Notice{
		Reason: "RollingBack", Severity: plan.Error, Message: "rolling back revision r2: metric error-rate is 17 %", Revision: "r2",
		Number: 7, Rollout: 3, At: now,
		Result: &plan.Result{Name: "error-rate", Kind: "metric", Answer: plan.Answer{Verdict: plan.Fail, Value: "17 %", Limit: "<= 1 %"}},
	}
	want := notifier.Message{
		Key: "u/3/2/r2/RollingBack/", Severity: siskinv1.SeverityError, Title: "shop/web: Rolling back", Text: n.Message,
		Canary: types.NamespacedName{Namespace: "shop", Name: "web-canary"}, Time: now,
		Fields: []notifier.Field{
			{Name: "Check", Value: "error-rate", Short: true},
			{Name: "Value", Value: "17 %", Short: true},
			{Name: "Limit", Value: "<= 1 %", Short: true},
			{Name: "Revision", Value: "r2", Short: true},
			{Name: "Image", Value: "web:2", Short: true},
			{Name: "Commit", Value: "main@0123456789ab", Short: true},
			{Name: "Author", Value: "Ann", Short: true},
			{Name: "Change", Value: "faster"},
		},
	}
	if diff := cmp.Diff(want, report.Message(c, plan.State{Rollout: 3, Step: 2}, n, r, false)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}

	asking := plan.State{Rollout: 3, Step: 2, Request: plan.Reply{Value: "abort@1", By: "bob", Accepted: true, At: now}}
	if m := report.Message(c, asking, n, r, false); m.Key != "u/3/2/r2/RollingBack/abort@1" || !slices.Contains(m.Fields, notifier.Field{Name: "Asked by", Value: "bob", Short: true}) {
		t.Errorf("who asked is told: %+v", m)
	}
	after := n
	after.At = now.Add(time.Second)
	later := report.Message(c, asking, after, r, false)
	asking.Request.Accepted = false
	for _, m := range []notifier.Message{later, report.Message(c, asking, n, r, false)} {
		if slices.ContainsFunc(m.Fields, func(f notifier.Field) bool { return f.Name == "Asked by" }) {
			t.Errorf("nobody asked for this: %+v", m)
		}
	}

	bare := report.Message(c, plan.State{}, plan.Notice{Reason: "Terminating", Severity: plan.Info, Message: "bye"}, siskinv1.RevisionStatus{}, false)
	if len(bare.Fields) != 0 || bare.Severity != siskinv1.SeverityInfo || bare.Title != "shop/web: Terminating" {
		t.Errorf("what is not known is left out: %+v", bare)
	}
}

// A notice that an earlier process may have told says so: nobody can ask a channel what it has.
func TestAMessageThatMayBeARepetitionSaysSo(t *testing.T) {
	n := plan.Notice{Reason: "Promoted", Severity: plan.Info, Message: "done", Number: 3, Rollout: 2}
	first := report.Message(&siskinv1.Canary{}, plan.State{}, n, siskinv1.RevisionStatus{}, false)
	again := report.Message(&siskinv1.Canary{}, plan.State{}, n, siskinv1.RevisionStatus{}, true)
	if len(first.Fields) != 0 || len(again.Fields) != 1 || again.Fields[0].Name != "Told again" || again.Key != first.Key {
		t.Errorf("first %+v, again %+v", first, again)
	}
}

// The name of a notice's event is the same however often it is told, another for each transition, and one that the API
// server takes.
func TestTheEventOfANoticeHasANameOfItsOwn(t *testing.T) {
	c := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "u"}}
	n := plan.Notice{Reason: "CheckFailed", Severity: plan.Warning, Message: "no", Number: 3, Rollout: 2, Revision: "web-2", At: time.UnixMicro(7).UTC()}
	e := report.Event(c, n, "no (image web:2)", "siskin-0")
	if e.Name != report.EventName(c, n) || e.Namespace != "shop" || e.Type != "Warning" || e.Reason != "CheckFailed" || e.Note != "no (image web:2)" ||
		e.Regarding.UID != "u" || e.Regarding.Kind != "Canary" || !e.EventTime.Time.Equal(n.At) || e.ReportingController != "siskin" {
		t.Errorf("%+v", e)
	}
	names := map[string]bool{e.Name: true}
	other := n
	for _, edit := range []func(){
		func() { other.Number = 4 }, func() { other.Rollout = 3 }, func() { other.Reason = "Promoted" }, func() { other.Revision = "web-3" },
	} {
		other = n
		edit()
		names[report.EventName(c, other)] = true
	}
	twin := c.DeepCopy()
	twin.UID = "v"
	names[report.EventName(twin, n)] = true
	if len(names) != 6 {
		t.Errorf("two transitions have one name: %v", names)
	}
	twin.Name = strings.Repeat("a", 235) + "." + strings.Repeat("b", 17)
	if name := report.EventName(twin, n); len(validation.IsDNS1123Subdomain(name)) > 0 {
		t.Errorf("the API server refuses %q", name)
	}
}

func TestSeveritiesAreThoseOfTheAPI(t *testing.T) {
	for have, want := range map[plan.Severity]siskinv1.AlertSeverity{
		plan.Info: siskinv1.SeverityInfo, plan.Warning: siskinv1.SeverityWarn, plan.Error: siskinv1.SeverityError,
	} {
		if got := report.Message(&siskinv1.Canary{}, plan.State{}, plan.Notice{Severity: have}, siskinv1.RevisionStatus{}, false).Severity; got != want {
			t.Errorf("%s became %s, want %s", have, got, want)
		}
	}
}
