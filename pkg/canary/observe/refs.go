package observe

import (
	"fmt"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// CrossNamespaceError : the Canary names an object of another namespace, which this controller does not allow; only an edit helps.
type CrossNamespaceError struct {
	// Field of the Canary, for example "spec.analysis.metrics[0].templateRef".
	Field string
	// Object that it names, for example "MetricTemplate other/errors".
	Object string
}

func (e *CrossNamespaceError) Error() string {
	return fmt.Sprintf("%s: %s is in another namespace, which --no-cross-namespace-refs forbids: copy it to the Canary's", e.Field, e.Object)
}

// LocalRefs checks that a Canary names nothing of another namespace from which Siskin would read for it: MetricTemplates and
// AlertProviders, whose Secrets it would use. Gateways of other namespaces are not meant: whether a route may be attached there is
// their owner's to say, with allowedRoutes. It looks at the spec alone and is asked in each pass; that the objects are not read is
// seen to once more where they would be. Errors: *CrossNamespaceError.
func LocalRefs(c *siskinv1.Canary) error {
	foreign := func(ref siskinv1.NamespacedRef) bool { return ref.Namespace != "" && ref.Namespace != c.Namespace }
	for i, m := range c.Spec.Analysis.Metrics {
		if m.TemplateRef != nil && foreign(*m.TemplateRef) {
			return &CrossNamespaceError{
				Field:  fmt.Sprintf("spec.analysis.metrics[%d].templateRef", i),
				Object: fmt.Sprintf("MetricTemplate %s/%s", m.TemplateRef.Namespace, m.TemplateRef.Name),
			}
		}
	}
	for i, a := range c.Spec.Analysis.Alerts {
		if foreign(a.ProviderRef) {
			return &CrossNamespaceError{
				Field:  fmt.Sprintf("spec.analysis.alerts[%d].providerRef", i),
				Object: fmt.Sprintf("AlertProvider %s/%s", a.ProviderRef.Namespace, a.ProviderRef.Name),
			}
		}
	}
	return nil
}
