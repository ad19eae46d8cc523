package observe_test

import (
	"errors"
	"strings"
	"testing"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
)

func TestNamesAreCheckedBeforeAnythingIsMade(t *testing.T) {
	long := func(n int) string { return strings.Repeat("n", n) }
	called := func(kind, name string) func(*siskinv1.Canary) {
		return func(c *siskinv1.Canary) { c.Spec.TargetRef.Kind, c.Spec.TargetRef.Name = kind, name }
	}
	scaled := func(kind string, n int, canary *siskinv1.ScalerReplicas) func(*siskinv1.Canary) {
		return func(c *siskinv1.Canary) {
			c.Spec.AutoscalerRef = &siskinv1.AutoscalerRef{Kind: kind, Name: long(n), Canary: canary}
		}
	}
	limits := &siskinv1.ScalerReplicas{}
	for name, tc := range map[string]struct {
		edit        func(*siskinv1.Canary)
		field, says string
	}{
		"the Canary":                 {func(c *siskinv1.Canary) { c.Name = long(64) }, "metadata.name", "63"},
		"the Canary, just so":        {func(c *siskinv1.Canary) { c.Name = long(63) }, "", ""},
		"the Services":               {called("Deployment", long(56)), "spec.service.name", "at most 55"},
		"the Services, just so":      {called("Deployment", long(55)), "", ""},
		"a name of their own":        {func(c *siskinv1.Canary) { called("Deployment", long(60))(c); c.Spec.Service.Name = "web" }, "", ""},
		"that is too long itself":    {func(c *siskinv1.Canary) { c.Spec.Service.Name = long(56) }, "spec.service.name", "64 characters"},
		"a digit first":              {called("Deployment", "2048"), "spec.service.name", "begins with a letter"},
		"a dot":                      {called("Deployment", "web.v2"), "spec.service.name", "set spec.service.name"},
		"a Service":                  {called("Service", long(56)), "spec.targetRef.name", "give the Service"},
		"pods of a StatefulSet":      {called("StatefulSet", long(45)), "spec.targetRef.name", "at most 44"},
		"just so":                    {called("StatefulSet", long(44)), "", ""},
		"a HorizontalPodAutoscaler":  {scaled("HorizontalPodAutoscaler", 247, limits), "spec.autoscalerRef.canary", "254 characters of 253"},
		"a ScaledObject":             {scaled("ScaledObject", 57, limits), "spec.autoscalerRef.canary", "64 characters of 63"},
		"a ScaledObject, not copied": {scaled("ScaledObject", 57, nil), "", ""},
		"a label": {func(c *siskinv1.Canary) {
			c.Spec.Service.Canary = &siskinv1.Metadata{Labels: map[string]string{"a": long(64)}}
		}, "spec.service.canary.labels", "63"},
		"an annotation": {func(c *siskinv1.Canary) {
			c.Spec.Service.Apex = &siskinv1.Metadata{Annotations: map[string]string{"a b": ""}}
		}, "spec.service.apex.annotations", "a b"},
		"an annotation of any length": {func(c *siskinv1.Canary) {
			c.Spec.Service.Apex = &siskinv1.Metadata{Annotations: map[string]string{"Example.org/A": long(300)}}
		}, "", ""},
		"what is there already": {func(c *siskinv1.Canary) {
			c.Name, c.Status.Stable = long(64), &siskinv1.RevisionStatus{Revision: "r1"}
		}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := observe.Spec(canary(tc.edit), weighted, 0)
			invalid, _ := errors.AsType[*observe.InvalidSpecError](err)
			if tc.field == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if invalid == nil || invalid.Field != tc.field || !strings.Contains(invalid.Message, tc.says) {
				t.Errorf("%v", err)
			}
		})
	}
}
