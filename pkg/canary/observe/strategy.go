package observe

import (
	"cmp"
	"fmt"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/router"
)

// steps of the strategy that the analysis asks for: iterations with match are an A/B test, iterations alone blue/green, weights a
// canary release. match together with weights sends the selected requests to the canary in every step.
func steps(a siskinv1.CanaryAnalysis, every time.Duration) ([]plan.Step, error) {
	audience := len(a.Match) > 0
	switch {
	case a.Iterations != nil && audience:
		out := make([]plan.Step, *a.Iterations)
		for i := range out {
			out[i] = plan.Step{Interval: every, Audience: true}
		}
		return out, nil
	case a.Iterations != nil || !weighted(a):
		n := int32(DefaultIterations)
		if a.Iterations != nil {
			n = *a.Iterations
		}
		out := plan.BlueGreen(n, every)
		for i := range out[:n] {
			out[i].Mirror = mirror(a)
		}
		return out, nil
	}
	out, err := weights(a, every)
	for i := range out {
		out[i].Audience = audience
	}
	if m := mirror(a); m > 0 {
		out = append([]plan.Step{{Interval: every, Mirror: m}}, out...)
	}
	return out, err
}

func weighted(a siskinv1.CanaryAnalysis) bool {
	return a.StepWeight != nil || len(a.StepWeights) > 0 || len(a.Steps) > 0
}

func mirror(a siskinv1.CanaryAnalysis) int32 {
	switch {
	case !a.Mirror:
		return 0
	case a.MirrorWeight != nil:
		return *a.MirrorWeight
	}
	return 100
}

func weights(a siskinv1.CanaryAnalysis, every time.Duration) ([]plan.Step, error) {
	if len(a.Steps) > 0 {
		return listed(a.Steps, every)
	}
	if len(a.StepWeights) > 0 {
		out := make([]plan.Step, 0, len(a.StepWeights))
		for _, w := range a.StepWeights {
			out = append(out, plan.Step{Weight: w, Interval: every})
		}
		return out, nil
	}
	most := int32(100)
	if a.MaxWeight != nil {
		most = *a.MaxWeight
	}
	return plan.Ladder(*a.StepWeight, most, every), nil
}

// listed are the steps that the user wrote one by one.
func listed(in []siskinv1.AnalysisStep, every time.Duration) ([]plan.Step, error) {
	out := make([]plan.Step, 0, len(in))
	last := int32(0)
	for i, s := range in {
		field := fmt.Sprintf("spec.analysis.steps[%d]", i)
		step := plan.Step{Weight: last}
		if s.Weight != nil {
			step.Weight = *s.Weight
		}
		if step.Weight < last {
			return nil, &InvalidSpecError{field + ".weight", fmt.Sprintf("%d is less than the %d of the step before: weights must not fall", step.Weight, last)}
		}
		last = step.Weight
		var err error
		if step.Interval, err = interval(field+".interval", s.Interval, every); err != nil {
			return nil, err
		}
		if s.Pause != nil {
			if step.Pause, err = interval(field+".pause.duration", s.Pause.Duration, plan.UntilResumed); err != nil {
				return nil, err
			}
		}
		out = append(out, step)
	}
	return out, nil
}

// doubtful marks the steps of which it is not known yet whether the router can do what they ask for.
func doubtful(c *siskinv1.Canary, steps []plan.Step, caps router.Capabilities) {
	if caps.Features.Sure() {
		return
	}
	in := Widest(c)
	for i := range steps {
		in.Split = router.Split{Primary: 100 - steps[i].Weight, Canary: steps[i].Weight, Mirror: steps[i].Mirror, Audience: steps[i].Audience}
		if what, doubts := caps.Doubts(in); doubts {
			steps[i].Unsure = fmt.Sprintf("it is not known yet whether this provider (%s) can %s (%s): mend that, which is noticed within %s",
				providerOf(c), what, caps.Unsure, plan.Relearn)
			if caps.Vouch != "" {
				steps[i].Unsure += ", or, " + caps.Vouch
			}
		}
	}
}

func providerOf(c *siskinv1.Canary) string {
	return cmp.Or(c.Spec.Provider, c.Status.Provider, "the default one")
}

// possible refuses a strategy that the router cannot do, by name.
func possible(c *siskinv1.Canary, z plan.Spec, caps router.Capabilities) error {
	a := c.Spec.Analysis
	if f, field, lacks := caps.LacksForService(c); lacks {
		return unable(c, caps, f, field)
	}
	if z.SkipAnalysis {
		return nil
	}
	if !weighted(a) && z.PromotionStep > 0 && !caps.Features.Can(router.FeatureWeights) {
		return unable(c, caps, router.FeatureWeights, "spec.analysis.stepWeightPromotion")
	}
	if f, field, lacks := caps.Lacks(Widest(c)); lacks {
		return unable(c, caps, f, field)
	}
	if a.SessionAffinity != nil && !caps.Features.Can(router.FeatureAffinity) {
		return unable(c, caps, router.FeatureAffinity, "spec.analysis.sessionAffinity")
	}
	switch {
	case a.SessionAffinity != nil && !weighted(a):
		return &InvalidSpecError{"spec.analysis.sessionAffinity", "it needs weights: give stepWeight, stepWeights or steps"}
	case !weighted(a) && a.Iterations == nil && caps.Features.Can(router.FeatureWeights):
		return &InvalidSpecError{"spec.analysis", "give stepWeight, stepWeights, steps or iterations"}
	}
	return nil
}

func unable(c *siskinv1.Canary, caps router.Capabilities, f router.Feature, field string) error {
	name := providerOf(c)
	if caps.Of != "" { // of a Gateway, its controller decides
		name += ", " + caps.Of
	}
	return &UnableError{InvalidSpecError{field, fmt.Sprintf("this provider (%s) %s", name, caps.Cannot(f, field))}}
}
