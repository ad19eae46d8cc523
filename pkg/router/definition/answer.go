package definition

import (
	"context"
	"fmt"
	"math"

	"github.com/siskin-dev/siskin/pkg/router"
)

// answer is what an object says of itself, as its definition reads it.
type answer struct {
	accepted, rejected bool
	message            string
}

// read reads the answer of the data plane's controller. Without status it counts as accepted. Errors: *RenderError.
func (d *Definition) read(ctx context.Context, live map[string]any, in router.Intent) (answer, error) {
	if !d.accepted.given() {
		return answer{accepted: true}, nil
	}
	vars := names(in)
	vars["object"] = live
	var out answer
	for _, one := range []struct {
		at   string
		from expression
		to   func(any) bool
	}{
		{"spec.status.accepted", d.accepted, into(&out.accepted)},
		{"spec.status.rejected", d.rejected, into(&out.rejected)},
		{"spec.status.message", d.message, into(&out.message)},
	} {
		if !one.from.given() {
			continue
		}
		value, err := one.from.eval(ctx, vars)
		if err != nil {
			return answer{}, &RenderError{Field: one.at, Message: err.Error()}
		}
		if !one.to(value) {
			return answer{}, &RenderError{Field: one.at, Message: fmt.Sprintf("it gives %T, which it may not", value)}
		}
	}
	return out, nil
}

// into stores a value of type T, and reports whether it is one.
func into[T any](to *T) func(any) bool {
	return func(v any) bool {
		one, ok := v.(T)
		if ok {
			*to = one
		}
		return ok
	}
}

// States reads the split that an object states, and whether it states one. The canary's share is rounded up and never
// up to all: what carries traffic must not be scaled away. Errors: *RenderError.
func (d *Definition) States(ctx context.Context, live map[string]any, in router.Intent) (router.Split, bool, error) {
	vars := names(in)
	vars["object"] = live
	value, err := d.current.eval(ctx, vars)
	if err != nil {
		return router.Split{}, false, &RenderError{Field: "spec.current", Message: err.Error()}
	}
	said, _ := value.(map[string]any)
	primary, canary := number(said["primary"]), number(said["canary"])
	if said == nil || primary < 0 || canary < 0 {
		return router.Split{}, false, &RenderError{
			Field: "spec.current", Message: "it gives no map with the weights primary and canary",
		}
	}
	selects, _ := said["audience"].(bool)
	out := router.Split{Mirror: int32(math.Ceil(min(max(number(said["mirror"]), 0), 100))), Audience: selects}
	if primary+canary == 0 {
		return out, false, nil
	}
	share := math.Ceil(100 * canary / (primary + canary))
	if primary > 0 {
		share = min(share, 99)
	}
	out.Canary = int32(share)
	out.Primary = 100 - out.Canary
	return out, true, nil
}

// number is a number of JSON; what is none is 0.
func number(v any) float64 {
	switch n := v.(type) {
	case int64:
		return float64(n)
	case float64:
		return n
	}
	return 0
}
