package canary_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/notifier"
	"github.com/siskin-dev/siskin/pkg/router"
)

// ask writes a request as a person does, stamped as the admission policy does it.
func (s *stage) ask(request string) {
	s.t.Helper()
	c := s.canary()
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	c.Annotations[siskinv1.RequestAnnotation], c.Annotations[siskinv1.RequestedByAnnotation] = request, "ann"
	if err := s.api.Update(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
}

// Each request is told once, with the type, the name and the words that people need; alerts reach their channels with who asked.
func TestWhatPeopleAskForIsTold(t *testing.T) {
	for name, tc := range map[string]struct {
		why     string
		edit    func(*siskinv1.Canary)
		before  func(*stage)
		request string
		event   string
		alert   string // title; "": nobody is alerted
		refused bool
	}{
		"promote": {
			why: "what was not analysed is promoted: people should know", before: onTrial, request: "promote@1", alert: "Promotion requested",
			event: "Warning PromotionRequested ann asked for the promotion of revision web-2: what is left of the analysis is skipped (image web:2",
		},
		"abort": {
			why: "it is a rollback as any other", before: onTrial, request: "abort@1", alert: "Rolling back",
			event: "Warning RollingBack rolling back revision web-2: ann aborted it (image web:2",
		},
		"pause": {
			why: "a rollout that stands still must not be forgotten", before: onTrial, request: "pause@1", alert: "Paused",
			event: "Warning Paused ann paused the rollout of revision web-2 at 80/20; it goes on being judged (image web:2",
		},
		"resume": {
			why: "good news", before: func(s *stage) { onTrial(s); s.ask("pause@0"); s.pass() }, request: "resume@1", alert: "Resumed",
			event: "Normal Resumed ann resumed the rollout of revision web-2 (image web:2",
		},
		"retry": {
			why: "it is a rollout as any other", before: taken, request: "retry@1", alert: "New revision",
			event: "Normal NewRevision new revision web-2 detected: starting the canary (image web:2",
		},
		"rollback": {
			why: "a version comes without analysis", before: released, request: "rollback@1", alert: "Direct rollout",
			event: "Warning DirectRollout ann asked for revision web-1: the primary is being brought to it (image web:1)",
		},
		"promote what was taken back": {
			why: "a version comes without analysis", before: taken, request: "promote@1", alert: "Direct rollout",
			event: "Warning DirectRollout ann asked for the promotion of revision web-2 without analysis: the primary is being brought to it (image web:2",
		},
		"refused": {
			why: "it is for who asked, not for a channel", before: released, request: "abort@1", refused: true,
			event: "Warning RequestRefused abort by ann refused: no rollout ",
		},
		"nonsense": {
			why: "without admission policies Siskin says it", before: released, request: "stop\nnow@1", refused: true,
			event: `Warning RequestRefused request by ann refused: "stop now" is no request: write one of promote, abort,`,
		},
		"frozen": {
			why: "a person must decide", edit: func(c *siskinv1.Canary) { c.Spec.Analysis.OnFailure = siskinv1.OnFailureFreeze },
			before: func(s *stage) { onTrial(s); s.metrics.Answer(7) }, alert: "Frozen",
			event: "Warning Frozen revision web-2 is frozen at 80/20: metric error-rate is 7 (limit <= 1); annotate siskin.dev/request=abort, retry, resume or promote",
		},
		"baked": {
			why: "the end of a release", edit: func(c *siskinv1.Canary) { c.Spec.Analysis.Bake = &siskinv1.Bake{Duration: "30s"} },
			before: func(s *stage) { s.until(siskinv1.PhaseInitialized); s.image("web:2"); s.reach(siskinv1.PhaseBaking) }, alert: "Baked",
			event: "Normal Baked revision web-2 passed the checks after its promotion (image web:2",
		},
		"bake fails": {
			why: "the previous version comes back", edit: func(c *siskinv1.Canary) { c.Spec.Analysis.Bake = &siskinv1.Bake{Duration: "30s"} },
			before: func(s *stage) {
				s.until(siskinv1.PhaseInitialized)
				s.image("web:2")
				s.reach(siskinv1.PhaseBaking)
				s.metrics.Answer(7)
			}, alert: "Rolling back",
			event: "Warning RollingBack rolling back revision web-2: after the promotion metric error-rate is 7 (limit <= 1) (image web:2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			edits := []func(*siskinv1.Canary){}
			if tc.edit != nil {
				edits = append(edits, tc.edit)
			}
			play(t, newCanary(edits...), func(s *stage) {
				tc.before(s)
				s.sleep(time.Minute)
				s.quiet()
				past := len(s.chat.Sent())
				if tc.request != "" {
					s.ask(tc.request)
				}
				var told []string
				for range 30 {
					if told = append(told, s.events.take()...); len(told) > 0 {
						break
					}
					s.kubelet()
					s.rest(s.pass())
				}
				names := s.names()
				if len(told) != 1 || !strings.HasPrefix(names.Replace(told[0]), tc.event) || strings.Contains(told[0], "\n") {
					t.Errorf("%s: told %q, want %q", tc.why, names.Replace(strings.Join(told, "\n")), tc.event)
				}
				s.kubelet()
				s.pass() // the dispatcher has had its turn
				sent := s.chat.Sent()[past:]
				switch {
				case tc.alert == "" && len(sent) > 0:
					t.Errorf("%s: alerted with %+v", tc.why, sent)
				case tc.alert == "":
				case len(sent) == 0 || sent[0].Title != "shop/web: "+tc.alert:
					t.Errorf("%s: alerted with %+v, want %s", tc.why, sent, tc.alert)
				case tc.request != "" && fieldOf(sent[0].Fields, "Asked by") != "ann":
					t.Errorf("the alert does not tell who asked: %+v", sent[0])
				}
				if r := s.canary().Status.Request; tc.request != "" && (r == nil || r.Accepted == tc.refused || r.By != "ann") {
					t.Errorf("status tells %+v", r)
				}
			})
		})
	}
}

func onTrial(s *stage) {
	s.t.Helper()
	s.until(siskinv1.PhaseInitialized)
	s.image("web:2")
	for range 50 {
		if s.canary().Status.CanaryWeight == 20 {
			return
		}
		s.kubelet()
		s.pass()
	}
	s.t.Fatal("no first step")
}

func taken(s *stage) {
	s.t.Helper()
	s.until(siskinv1.PhaseInitialized)
	s.metrics.Answer(7)
	s.image("web:2")
	s.until(siskinv1.PhaseFailed)
	s.metrics.Answer(0.5)
}

func released(s *stage) {
	s.t.Helper()
	s.until(siskinv1.PhaseInitialized)
	s.image("web:2")
	s.until(siskinv1.PhaseSucceeded)
}

// names makes names of revisions readable.
func (s *stage) names() *strings.Replacer {
	s.t.Helper()
	st := s.canary().Status
	var pairs []string
	for _, r := range []*siskinv1.RevisionStatus{st.Stable, st.Canary} {
		if r != nil {
			pairs = append(pairs, r.Revision, strings.ReplaceAll(r.Image, ":", "-"))
		}
	}
	if st.Rollout != nil && st.Rollout.Previous != "" {
		pairs = append(pairs, st.Rollout.Previous, "web-1")
	}
	return strings.NewReplacer(pairs...)
}

func fieldOf(fields []notifier.Field, name string) string {
	for _, f := range fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// A request that was answered is never answered again: not by another pass, not by a new controller, not when the Canary is applied
// again without the annotation.
func TestARequestIsAnsweredOnce(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		onTrial(s)
		s.quiet()
		s.ask("retry@1") // refused, and still answered
		s.pass()
		s.ask("pause@2")
		s.pass()
		answered := s.canary().Status.Request.At
		for range 3 {
			s.pass()
		}
		if told := reasons(s.events.take()); told != "RequestRefused Paused" {
			t.Errorf("told %s", told)
		}
		for _, change := range []func(*siskinv1.Canary){
			func(c *siskinv1.Canary) { delete(c.Annotations, siskinv1.RequestAnnotation) },
			func(c *siskinv1.Canary) { c.Annotations[siskinv1.RequestAnnotation] = "pause@2" },
			func(c *siskinv1.Canary) { c.Annotations[siskinv1.RequestAnnotation] = " pause@2 " },
			func(c *siskinv1.Canary) { c.Annotations["example.org/x"] = "y" },
		} {
			s.edit(change)
			s.pass()
			s.pass()
			if r := s.canary().Status; !r.Request.At.Equal(answered) || r.Request.Value != "pause@2" || !r.Step.Paused {
				t.Errorf("request %+v, paused %t", r.Request, r.Step.Paused)
			}
		}
		if told := s.events.take(); len(told) > 0 {
			t.Errorf("told again: %v", told)
		}
	})
}

// The answer is stored before anything is done: when that write fails or meets another writer, the request is carried out all the
// same, once.
func TestARequestSurvivesAFailedWrite(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		onTrial(s)
		s.quiet()
		s.ask("abort@1")
		s.failing = errBoom
		if _, err := s.once(); err == nil {
			t.Fatal("the write did not fail")
		}
		if told := s.events.take(); len(told) > 0 || s.canary().Status.Request != nil {
			t.Errorf("told before it was stored: %v", told)
		}
		if z, _ := s.router.Split("shop/web"); z == (router.Split{Primary: 100}) {
			t.Error("done before it was stored")
		}
		s.until(siskinv1.PhaseFailed)
		if told := reasons(s.events.take()); told != "RollingBack RolledBack" {
			t.Errorf("told %s", told)
		}
		if h := s.canary().Status.History; len(h) != 1 || h[0].Cause != "ann aborted it" {
			t.Errorf("history %+v", h)
		}
	})
}

// Pausing again after a resume is news for people's channels, although revision, step and words are the same.
func TestAPauseIsAlertedEachTime(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		onTrial(s)
		for _, request := range []string{"pause@1", "resume@2", "pause@3", "resume@4"} {
			s.ask(request)
			s.pass()
			s.pass()
		}
		var titles []string
		for _, m := range s.chat.Sent() {
			titles = append(titles, strings.TrimPrefix(m.Title, "shop/web: "))
		}
		if n := len(slices.DeleteFunc(titles, func(title string) bool { return title != "Paused" && title != "Resumed" })); n != 4 {
			t.Errorf("alerted %v", s.chat.Sent())
		}
	})
}

// What is asked of the canary is asked of the primary while it bakes: since the promotion, less a part of the first interval, in which
// the version before may still be counted.
func TestBakeAsksAboutThePrimary(t *testing.T) {
	play(t, newCanary(func(c *siskinv1.Canary) {
		c.Spec.Analysis.Interval = "20s"
		c.Spec.Analysis.Bake = &siskinv1.Bake{Duration: "1m"}
		c.Spec.Analysis.Metrics[0].Query = "errors{workload=\"{{ target }}\"}[{{ interval }}]"
	}), func(s *stage) {
		t := s.t
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		s.reach(siskinv1.PhaseBaking)
		before := len(s.metrics.Queries())
		c := s.canary()
		if !meta.IsStatusConditionTrue(c.Status.Conditions, siskinv1.ConditionReady) || c.Status.Stable.Image != "web:2" || c.Status.Rollout.BakeUntil == nil {
			t.Errorf("status %+v", c.Status)
		}
		s.until(siskinv1.PhaseSucceeded)
		var got []string
		for _, q := range s.metrics.Queries()[before:] {
			got = append(got, q.Text)
		}
		want := []string{`errors{workload="web-primary"}[15s]`, `errors{workload="web-primary"}[35s]`, `errors{workload="web-primary"}[55s]`}
		if !slices.Equal(got, want) {
			t.Errorf("asked %q, want %q", got, want)
		}
	})
}

// New snapshots tell people what they are; those that exist are left alone.
func TestSnapshotsTellWhatTheyAre(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		released(s)
		var list appsv1.ControllerRevisionList
		if err := s.api.List(t.Context(), &list); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, cr := range list.Items {
			got[cr.Annotations[siskinv1.ImageAnnotation]] = cr.Annotations[siskinv1.GitRevisionAnnotation]
			delete(cr.Annotations, siskinv1.ImageAnnotation) // as an earlier Siskin wrote it
			if err := s.api.Update(t.Context(), &cr); err != nil {
				t.Fatal(err)
			}
		}
		if len(got) != 2 || got["web:1"] != "" || got["web:2"] != "main@sha1:0123456789abcdef" {
			t.Errorf("snapshots %v", got)
		}
		s.quiet()
		s.pass()
		if n := s.writes.Writes(); n > 0 {
			t.Errorf("%d writes for snapshots without notes", n)
		}
	})
}

// A revision that a person had brought to the primary without analysis, and that does not come up, is not tried again by itself.
func TestAFailedDirectRolloutIsNotTriedAgain(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		t := s.t
		taken(s)
		s.sick["web-primary"] = true
		s.ask("promote@1")
		for range 40 {
			if st := s.canary().Status; st.Phase == siskinv1.PhaseRollingBack {
				break
			}
			s.kubelet()
			s.sleep(s.pass().RequeueAfter)
		}
		s.sick = map[string]bool{}
		s.until(siskinv1.PhaseFailed)
		st := s.canary().Status
		if st.Rollout.ID != 2 || !st.Rollout.Direct || st.Rejected != st.Canary.Revision || st.Stable.Image != "web:1" {
			t.Errorf("rollout %+v, rejected %q, stable %+v", st.Rollout, st.Rejected, st.Stable)
		}
	})
}
