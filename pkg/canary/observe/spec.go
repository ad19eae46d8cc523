package observe

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/router"
)

// Defaults of what the spec leaves out.
const (
	DefaultInterval         = time.Minute
	DefaultProgressDeadline = 10 * time.Minute
	DefaultGateDeadline     = 7 * 24 * time.Hour
	DefaultIterations       = 10
	minInterval             = time.Second
)

// InvalidSpecError : the spec cannot be used; only an edit helps.
type InvalidSpecError struct{ Field, Message string }

func (e *InvalidSpecError) Error() string { return e.Field + ": " + e.Message }

// UnableError : the spec asks for what its router cannot do now. An edit helps, or another version of the data plane, of which nobody tells.
type UnableError struct{ Invalid InvalidSpecError }

func (e *UnableError) Error() string { return e.Invalid.Error() }

// Unwrap makes it an *InvalidSpecError too.
func (e *UnableError) Unwrap() error { return &e.Invalid }

// Spec fills in defaults and checks what the schema cannot; drain is how long a side without traffic keeps running. With an error
// (*InvalidSpecError) the rest of the spec can still be used to take a version back.
func Spec(c *siskinv1.Canary, caps router.Capabilities, drain time.Duration) (plan.Spec, error) {
	a := c.Spec.Analysis
	z := plan.Spec{
		Threshold: max(a.Threshold, 1), PromotionStep: a.StepWeightPromotion, NoData: plan.Policy(a.NoData),
		Deadline: seconds(c.Spec.ProgressDeadlineSeconds, DefaultProgressDeadline), GateDeadline: seconds(a.GateDeadlineSeconds, DefaultGateDeadline),
		PrimaryReady: percent(a.PrimaryReadyThreshold), CanaryReady: percent(a.CanaryReadyThreshold), Drain: drain,
		SkipAnalysis: c.Spec.SkipAnalysis, Suspend: c.Spec.Suspend, Orphan: c.Spec.DeletionPolicy == siskinv1.DeletionPolicyOrphan,
		Freeze:       a.OnFailure == siskinv1.OnFailureFreeze,
		CanaryScaled: c.Spec.AutoscalerRef != nil && c.Spec.AutoscalerRef.Canary != nil,
	}
	if z.NoData == "" {
		z.NoData = plan.PolicyHold
	}
	for _, w := range a.Webhooks {
		t := plan.HookType(w.Type)
		if t == "" {
			t = plan.RolloutHook
		}
		if w.Type != siskinv1.HookEvent {
			z.Hooks = append(z.Hooks, plan.Hook{Name: w.Name, Type: t})
		}
	}
	for _, m := range a.Metrics {
		z.Metrics = append(z.Metrics, m.Name)
	}
	var wrong, err error
	keep := func() { // the first that is wrong is told
		if wrong == nil {
			wrong = err
		}
	}
	err = names(c)
	keep()
	z.Interval, err = interval("spec.analysis.interval", a.Interval, DefaultInterval)
	keep()
	z.CanarySize, err = size(a.CanaryReplicas)
	keep()
	z.Steps, err = steps(a, z.Interval)
	keep()
	doubtful(c, z.Steps, caps)
	err = bake(a.Bake, &z)
	keep()
	err = releasable(c, caps)
	keep()
	err = possible(c, z, caps)
	keep()
	return z, wrong
}

func bake(b *siskinv1.Bake, z *plan.Spec) error {
	if b == nil {
		return nil
	}
	var err error
	z.Bake, err = interval("spec.analysis.bake.duration", b.Duration, 0)
	z.BakeThreshold = max(b.Threshold, 1)
	return err
}

// interval reads a duration; what is missing or wrong is def.
func interval(field, text string, def time.Duration) (time.Duration, error) {
	if text == "" {
		return def, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < minInterval {
		return def, &InvalidSpecError{field, fmt.Sprintf("%q is not a duration of at least %s, for example 1m", text, minInterval)}
	}
	return d, nil
}

func size(v *intstr.IntOrString) (plan.Size, error) {
	if v == nil {
		return plan.Size{Percent: 100}, nil
	}
	if v.Type == intstr.Int && v.IntVal > 0 {
		return plan.Size{Count: v.IntVal}, nil
	}
	p, err := strconv.ParseInt(strings.TrimSuffix(v.StrVal, "%"), 10, 16)
	if err != nil || p <= 0 || p > 1000 {
		return plan.Size{Percent: 100}, &InvalidSpecError{"spec.analysis.canaryReplicas", fmt.Sprintf("%q is neither a positive number nor a percentage from 1%% to 1000%%", v.String())}
	}
	return plan.Size{Percent: int32(p)}, nil
}

func seconds(v *int32, def time.Duration) time.Duration {
	if v == nil {
		return def
	}
	return time.Duration(*v) * time.Second
}

func percent(v *int32) int32 {
	if v == nil {
		return 100
	}
	return *v
}

func parseReplicas(text string) (int32, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("annotation %s: %q is no number of replicas", siskinv1.ReplicasAnnotation, text)
	}
	return int32(n), nil
}
