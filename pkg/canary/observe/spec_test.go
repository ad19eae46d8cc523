package observe_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/intstr"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/router"
)

var (
	weighted = router.Capabilities{Features: router.Features{}.With(router.Yes, router.FeatureWeights)}
	switches = router.Capabilities{}
)

func analysis(edit func(*siskinv1.CanaryAnalysis)) func(*siskinv1.Canary) {
	return func(c *siskinv1.Canary) { edit(&c.Spec.Analysis) }
}

func TestSpecDefaults(t *testing.T) {
	got, err := observe.Spec(canary(), weighted, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	want := plan.Spec{
		Steps: plan.Ladder(20, 100, time.Minute), Interval: time.Minute, Threshold: 1, Deadline: 10 * time.Minute, GateDeadline: 168 * time.Hour,
		NoData: plan.PolicyHold, CanarySize: plan.Size{Percent: 100}, PrimaryReady: 100, CanaryReady: 100, Drain: 5 * time.Second,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestSpecTakesOverAllThatIsGiven(t *testing.T) {
	c := canary(func(c *siskinv1.Canary) {
		c.Spec.ProgressDeadlineSeconds, c.Spec.SkipAnalysis, c.Spec.Suspend = new(int32(60)), true, true
		c.Spec.DeletionPolicy = siskinv1.DeletionPolicyOrphan
		c.Spec.Analysis = siskinv1.CanaryAnalysis{
			Interval: "1m30s", Threshold: 5, MaxWeight: new(int32(50)), StepWeight: new(int32(20)), StepWeightPromotion: 25, NoData: siskinv1.NoDataFail,
			PrimaryReadyThreshold: new(int32(80)), CanaryReadyThreshold: new(int32(50)), GateDeadlineSeconds: new(int32(3600)),
			Metrics: []siskinv1.CanaryMetric{{Name: "error-rate"}, {Name: "latency"}},
			Webhooks: []siskinv1.CanaryWebhook{
				{Name: "smoke", Type: siskinv1.HookPreRollout}, {Name: "load"}, {Name: "log", Type: siskinv1.HookEvent}, {Name: "boss", Type: siskinv1.HookConfirmPromotion},
			},
		}
	})
	got, err := observe.Spec(c, weighted, 0)
	if err != nil {
		t.Fatal(err)
	}
	every := 90 * time.Second
	want := plan.Spec{
		Steps:    []plan.Step{{Weight: 20, Interval: every}, {Weight: 40, Interval: every}, {Weight: 50, Interval: every}},
		Interval: every, Threshold: 5, Deadline: time.Minute, GateDeadline: time.Hour, PromotionStep: 25, NoData: plan.PolicyFail,
		Hooks: []plan.Hook{
			{Name: "smoke", Type: plan.PreRollout}, {Name: "load", Type: plan.RolloutHook}, {Name: "boss", Type: plan.ConfirmPromotion},
		},
		Metrics: []string{"error-rate", "latency"}, CanarySize: plan.Size{Percent: 100}, PrimaryReady: 80, CanaryReady: 50,
		SkipAnalysis: true, Suspend: true, Orphan: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestSteps(t *testing.T) {
	steps := func(weights ...int32) []plan.Step {
		var out []plan.Step
		for _, w := range weights {
			out = append(out, plan.Step{Weight: w, Interval: time.Minute})
		}
		return out
	}
	for name, tc := range map[string]struct {
		reason string
		caps   router.Capabilities
		edit   func(*siskinv1.CanaryAnalysis)
		want   []plan.Step
		err    string // field of the error
	}{
		"stepWeight":            {"the last step is maxWeight", weighted, func(a *siskinv1.CanaryAnalysis) { a.StepWeight, a.MaxWeight = new(int32(30)), new(int32(70)) }, steps(30, 60, 70), ""},
		"stepWeight to the top": {"maxWeight is 100", weighted, func(a *siskinv1.CanaryAnalysis) { a.StepWeight = new(int32(50)) }, steps(50, 100), ""},
		"stepWeights":           {"as they are written", weighted, func(a *siskinv1.CanaryAnalysis) { a.StepWeight, a.StepWeights = nil, []int32{1, 5, 50} }, steps(1, 5, 50), ""},
		"iterations":            {"blue/green: checks without traffic, then all of it", weighted, func(a *siskinv1.CanaryAnalysis) { a.StepWeight, a.Iterations = nil, new(int32(2)) }, steps(0, 0, 100), ""},
		"nothing":               {"a Canary without steps must not promote unseen", weighted, func(a *siskinv1.CanaryAnalysis) { a.StepWeight = nil }, nil, "spec.analysis"},
		"switch, iterations":    {"every router can switch", switches, func(a *siskinv1.CanaryAnalysis) { a.StepWeight, a.Iterations = nil, new(int32(1)) }, steps(0, 100), ""},
		"switch, nothing":       {"there is only one way", switches, func(a *siskinv1.CanaryAnalysis) { a.StepWeight = nil }, plan.BlueGreen(10, time.Minute), ""},
		"switch, stepWeight":    {"it cannot", switches, func(*siskinv1.CanaryAnalysis) {}, nil, "spec.analysis"},
		"switch, stepWeights":   {"it cannot", switches, func(a *siskinv1.CanaryAnalysis) { a.StepWeight, a.StepWeights = nil, []int32{50} }, nil, "spec.analysis"},
		"switch, promotion": {"it cannot give back in steps", switches, func(a *siskinv1.CanaryAnalysis) {
			a.StepWeight, a.Iterations, a.StepWeightPromotion = nil, new(int32(1)), 20
		}, nil, "spec.analysis.stepWeightPromotion"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := observe.Spec(canary(analysis(tc.edit)), tc.caps, 0)
			if tc.err != "" {
				wantField(t, err, tc.err)
				return
			}
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			if diff := cmp.Diff(tc.want, got.Steps); diff != "" {
				t.Errorf("%s: -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func TestListedSteps(t *testing.T) {
	resumed := &siskinv1.StepPause{}
	for name, tc := range map[string]struct {
		given []siskinv1.AnalysisStep
		want  []plan.Step
		field string // of the error
		says  string
	}{
		"the weight of the step before": {
			given: []siskinv1.AnalysisStep{{Weight: new(int32(10))}, {}, {Weight: new(int32(10))}, {Weight: new(int32(30))}},
			want: []plan.Step{
				{Weight: 10, Interval: time.Minute}, {Weight: 10, Interval: time.Minute}, {Weight: 10, Interval: time.Minute}, {Weight: 30, Interval: time.Minute},
			},
		},
		"a first step without a weight": {
			given: []siskinv1.AnalysisStep{{}, {Weight: new(int32(100))}},
			want:  []plan.Step{{Interval: time.Minute}, {Weight: 100, Interval: time.Minute}},
		},
		"an interval of its own": {
			given: []siskinv1.AnalysisStep{{Weight: new(int32(10)), Interval: "30s"}, {Weight: new(int32(20))}, {Weight: new(int32(30)), Interval: "1h30m"}},
			want: []plan.Step{
				{Weight: 10, Interval: 30 * time.Second}, {Weight: 20, Interval: time.Minute}, {Weight: 30, Interval: 90 * time.Minute},
			},
		},
		"a pause that ends, one that a person ends, and none": {
			given: []siskinv1.AnalysisStep{{Weight: new(int32(10)), Pause: &siskinv1.StepPause{Duration: "5m"}}, {Pause: resumed}, {Weight: new(int32(20))}},
			want: []plan.Step{
				{Weight: 10, Interval: time.Minute, Pause: 5 * time.Minute},
				{Weight: 10, Interval: time.Minute, Pause: plan.UntilResumed},
				{Weight: 20, Interval: time.Minute},
			},
		},
		"weights that fall": {
			given: []siskinv1.AnalysisStep{{Weight: new(int32(20))}, {}, {Weight: new(int32(10))}},
			field: "spec.analysis.steps[2].weight", says: "10 is less than the 20 of the step before: weights must not fall",
		},
		"an interval that is none": {
			given: []siskinv1.AnalysisStep{{Weight: new(int32(20))}, {Interval: "soon"}},
			field: "spec.analysis.steps[1].interval", says: `"soon" is not a duration of at least 1s, for example 1m`,
		},
		"a pause that is too short": {
			given: []siskinv1.AnalysisStep{{Weight: new(int32(20)), Pause: &siskinv1.StepPause{Duration: "10ms"}}},
			field: "spec.analysis.steps[0].pause.duration", says: `"10ms" is not a duration of at least 1s, for example 1m`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := observe.Spec(canary(analysis(func(a *siskinv1.CanaryAnalysis) { a.StepWeight, a.Steps = nil, tc.given })), weighted, 0)
			if tc.field != "" {
				wantField(t, err, tc.field)
				if !strings.Contains(err.Error(), tc.says) {
					t.Errorf("%v\nwant: %s", err, tc.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got.Steps); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func wantField(t *testing.T, err error, field string) {
	t.Helper()
	var invalid *observe.InvalidSpecError
	if !errors.As(err, &invalid) || invalid.Field != field {
		t.Fatalf("error %v, want one of %s", err, field)
	}
	if !strings.HasPrefix(err.Error(), field+": ") {
		t.Errorf("%q does not begin with the field", err)
	}
}

func TestIntervals(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": time.Minute, "1s": time.Second, "1h30m": 90 * time.Minute, "1500ms": 1500 * time.Millisecond,
		"0": 0, "0s": 0, "999ms": 0, "-1m": 0, "1": 0, "soon": 0, "1d": 0,
	} {
		t.Run(text, func(t *testing.T) {
			got, err := observe.Spec(canary(analysis(func(a *siskinv1.CanaryAnalysis) { a.Interval = text })), weighted, 0)
			switch {
			case want == 0:
				wantField(t, err, "spec.analysis.interval")
			case err != nil || got.Interval != want || got.Steps[0].Interval != want:
				t.Errorf("interval %s, %v, want %s", got.Interval, err, want)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]plan.Size{
		"3": {Count: 3}, "50%": {Percent: 50}, "1%": {Percent: 1}, "1000%": {Percent: 1000},
		"0": {}, "-1": {}, "0%": {}, "1001%": {}, "99999999999%": {}, "half": {}, "%": {}, "-5%": {},
	} {
		t.Run(text, func(t *testing.T) {
			v := intstr.Parse(text)
			got, err := observe.Spec(canary(analysis(func(a *siskinv1.CanaryAnalysis) { a.CanaryReplicas = &v })), weighted, 0)
			switch {
			case want == plan.Size{}:
				wantField(t, err, "spec.analysis.canaryReplicas")
			case err != nil || got.CanarySize != want:
				t.Errorf("size %v, %v, want %v", got.CanarySize, err, want)
			}
		})
	}
}

func TestThresholdZeroIsOne(t *testing.T) {
	got, err := observe.Spec(canary(analysis(func(a *siskinv1.CanaryAnalysis) { a.Threshold = 0 })), weighted, 0)
	if err != nil || got.Threshold != 1 {
		t.Errorf("threshold %d, %v: the first failed check rolls back", got.Threshold, err)
	}
}

// What is not known yet is no error: the steps that ask for it are marked, and no others.
func TestStepsOfUnknownCapabilities(t *testing.T) {
	everything := router.Capabilities{Features: router.Every(router.Yes)}
	why := "Gateway infra/public: it could not be read"
	query := []siskinv1.RequestMatch{{QueryParams: map[string]siskinv1.StringMatch{"q": {Exact: "1"}}}}
	method := []siskinv1.RequestMatch{{Method: &siskinv1.StringMatch{Exact: "GET"}}}
	mirror := func(a *siskinv1.CanaryAnalysis) { a.Mirror = true }
	kept := func(a *siskinv1.CanaryAnalysis) { a.SessionAffinity = &siskinv1.SessionAffinity{CookieName: "web"} }
	for name, tc := range map[string]struct {
		unsure []router.Feature
		edit   func(*siskinv1.CanaryAnalysis)
		want   []string // what of each step is not known
	}{
		"nothing":                     {nil, mirror, []string{"", "", "", ""}},
		"mirror":                      {[]router.Feature{router.FeatureMirror}, mirror, []string{"mirror requests", "", "", ""}},
		"mirror, which nobody wants":  {[]router.Feature{router.FeatureMirror, router.FeatureMirrorPart}, kept, []string{"", "", ""}},
		"a part, where all is wanted": {[]router.Feature{router.FeatureMirrorPart}, mirror, []string{"", "", "", ""}},
		"a part": {[]router.Feature{router.FeatureMirrorPart}, func(a *siskinv1.CanaryAnalysis) {
			a.Mirror, a.MirrorWeight = true, new(int32(10))
		}, []string{"mirror a part of the requests", "", "", ""}},
		"affinity":                        {[]router.Feature{router.FeatureAffinity}, kept, []string{"keep users at a version", "keep users at a version", ""}},
		"query":                           {[]router.Feature{router.FeatureMatchQuery}, func(a *siskinv1.CanaryAnalysis) { a.Match = query }, slices.Repeat([]string{"select requests by query parameter"}, 3)},
		"method":                          {[]router.Feature{router.FeatureMatchMethod}, func(a *siskinv1.CanaryAnalysis) { a.Match = method }, slices.Repeat([]string{"select requests by method"}, 3)},
		"method, where a query is wanted": {[]router.Feature{router.FeatureMatchMethod}, func(a *siskinv1.CanaryAnalysis) { a.Match = query }, []string{"", "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			caps := everything
			caps.Features, caps.Unsure = caps.Features.With(router.Maybe, tc.unsure...), why
			got, err := observe.Spec(canary(analysis(func(a *siskinv1.CanaryAnalysis) {
				a.StepWeight, a.StepWeights = nil, []int32{20, 50, 100}
				tc.edit(a)
			})), caps, 0)
			if err != nil || len(got.Steps) != len(tc.want) {
				t.Fatalf("%v, %d steps", err, len(got.Steps))
			}
			for i, step := range got.Steps {
				if tc.want[i] == "" != (step.Unsure == "") || !strings.Contains(step.Unsure, tc.want[i]) || step.Unsure != "" && !strings.Contains(step.Unsure, why) {
					t.Errorf("step %d: %q, want %q", i+1, step.Unsure, tc.want[i])
				}
			}
		})
	}
}
