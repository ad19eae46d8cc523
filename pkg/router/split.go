package router

import "fmt"

// Check refuses a split that is no split, and one that a router without weights cannot do.
func (c Capabilities) Check(name string, s Split) error {
	if !s.Valid() {
		return &InvalidError{
			Router: name, Field: "spec.analysis",
			Message: fmt.Sprintf("the shares %d and %d must be >= 0 and sum to 100", s.Primary, s.Canary),
		}
	}
	if !c.Weighted && s.Primary != 0 && s.Canary != 0 {
		return &InvalidError{Router: name, Field: "spec.analysis", Message: fmt.Sprintf(
			"a split of %d/%d needs weights: use analysis.iterations (blue/green), or a provider that can split, such as gatewayapi",
			s.Primary, s.Canary)}
	}
	return nil
}
