package definition_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/definition"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// TestRefusedDefinitions : each is refused with the field that is wrong, before anything is written.
func TestRefusedDefinitions(t *testing.T) {
	type spec = siskinv1.RouterDefinitionSpec
	field := func(p string) func(*spec) {
		return func(s *spec) {
			s.Target.Writes, s.Weights.Fields[0].Pointer = []string{p}, p
		}
	}
	for name, tt := range map[string]struct {
		edit  func(*spec)
		field string
		says  string
	}{
		"status":          {field("/status/conditions"), "spec.target.writes[0]", "may not be written"},
		"all of spec":     {field("/spec"), "spec.target.writes[0]", "may not be written"},
		"name":            {field("/metadata/name"), "spec.target.writes[0]", "may not be written"},
		"namespace":       {field("/metadata/namespace"), "spec.target.writes[0]", "may not be written"},
		"owners":          {field("/metadata/ownerReferences"), "spec.target.writes[0]", "may not be written"},
		"finalizers":      {field("/metadata/finalizers"), "spec.target.writes[0]", "may not be written"},
		"all annotations": {field("/metadata/annotations"), "spec.target.writes[0]", "may not be written"},
		"Siskin's annotation": {
			field("/metadata/annotations/siskin.dev~1rules"), "spec.target.writes[0]", "of Siskin's",
		},
		"kubectl's annotation": {
			field("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"), "spec.target.writes[0]", "kubectl",
		},
		"no pointer":  {field("spec.weighted"), "spec.target.writes[0]", "begins with /"},
		"empty token": {field("/spec//x"), "spec.target.writes[0]", "empty"},
		"bad escape":  {field("/spec/a~2b"), "spec.target.writes[0]", "~"},
		"too deep":    {field("/spec" + strings.Repeat("/a", 16)), "spec.target.writes[0]", "more than 16"},
		"undeclared": {
			func(s *spec) { s.Weights.Fields[0].Pointer = "/spec/mirroring" },
			"spec.weights.fields[0].pointer", "outside of spec.target.writes",
		},
		"undeclared sibling": {
			func(s *spec) { s.Weights.Fields[0].Pointer = "/spec/weighted/servicesX" },
			"spec.weights.fields[0].pointer", "outside of spec.target.writes",
		},
		"no CEL": {
			func(s *spec) { s.Weights.Fields[0].Value = "self.map(" }, "spec.weights.fields[0].value", "Syntax error",
		},
		"unknown name": {
			func(s *spec) { s.Current = "{'primary': weight.primary}" }, "spec.current", "undeclared reference",
		},
		"no bool": {
			func(s *spec) { s.Status = &siskinv1.RouterAnswer{Accepted: "'yes'"} }, "spec.status.accepted", "bool",
		},
		"too long":   {func(s *spec) { s.Current = strings.Repeat(" ", 4097) }, "spec.current", "4097 bytes"},
		"core group": {func(s *spec) { s.Target.APIVersion = "v1" }, "spec.target.apiVersion", "core group"},
		"workloads":  {func(s *spec) { s.Target.APIVersion = "apps/v1" }, "spec.target.apiVersion", "no routes"},
		"roles": {
			func(s *spec) { s.Target.APIVersion = "rbac.authorization.k8s.io/v1" }, "spec.target.apiVersion", "no routes",
		},
		"a sum of 150": {func(s *spec) { s.Weights.Sum = 150 }, "spec.weights.sum", "multiple of 100"},
		"endless":      {func(s *spec) { s.Settle = "11m" }, "spec.settle", "10m"},
		"no evidence":  {func(s *spec) { s.Settle = "" }, "spec.settle", "follows"},
		"nested deeply": {func(s *spec) {
			s.Current = strings.Repeat("(", 100) + "1" + strings.Repeat(")", 100)
		}, "spec.current", "recursion"},
	} {
		t.Run(name, func(t *testing.T) {
			def, _ := shipped(t, "traefik")
			tt.edit(&def.Spec)
			_, err := definition.Compile(def)
			bad, ok := errors.AsType[*definition.FieldError](err)
			if !ok || bad.Field != tt.field || !strings.Contains(bad.Message, tt.says) || strings.Contains(bad.Message, "\n") {
				t.Errorf("got %v, want %s: …%s…", err, tt.field, tt.says)
			}
		})
	}
}

// TestExpensiveExpressions : they end, soon, with an error that names the field, and nothing is rendered.
func TestExpensiveExpressions(t *testing.T) {
	many := "[" + strings.Repeat("1,", 99) + "1]"
	for name, value := range map[string]string{
		"nested loops":        many + ".map(a, " + many + ".map(b, " + many + ".map(c, a + b + c)))",
		"a list that doubles": "[self]" + strings.Repeat(".map(a, a + a)", 60),
		"a text that doubles": "['sisk']" + strings.Repeat(".map(a, a + a)", 60),
		"shared parts":        "[self]" + strings.Repeat(".map(a, [a, a])", 40),
		"compared parts":      "[self]" + strings.Repeat(".map(a, [a, a])", 40) + ".map(a, a == a)",
		"looked up parts":     "[self]" + strings.Repeat(".map(a, [a, a])", 40) + ".map(a, a in [a])",
		"a key of parts":      "[self]" + strings.Repeat(".map(a, [a, a])", 40) + ".map(a, toJSON(a))",
		"large JSON":          "[" + many + "]" + strings.Repeat(".map(a, [a, a, a, a])", 8) + ".map(a, toJSON(a))",
	} {
		t.Run(name, func(t *testing.T) {
			def, _ := shipped(t, "traefik")
			def.Spec.Weights.Fields[0].Value = value
			d, err := definition.Compile(def)
			if err != nil {
				t.Fatal(err)
			}
			in := routertest.Intent(routertest.Canary("aviary"))
			in.Split = router.Split{Primary: 50, Canary: 50}
			begun := time.Now()
			out, err := d.Render(t.Context(), traefikService(), in)
			bad, ok := errors.AsType[*definition.RenderError](err)
			if !ok || bad.Field != "spec.weights.fields[0].value" || out != nil {
				t.Errorf("got %v, %v", out, err)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func traefikService() map[string]any {
	return map[string]any{
		"apiVersion": "traefik.io/v1alpha1", "kind": "TraefikService",
		"metadata": map[string]any{"name": "finch", "namespace": "aviary"},
		"spec": map[string]any{"weighted": map[string]any{"services": []any{
			map[string]any{"name": "finch", "port": int64(80)},
		}}},
	}
}

// TestValuesWithoutAPlace : what an expression gives must be what an object can say.
func TestValuesWithoutAPlace(t *testing.T) {
	for name, value := range map[string]string{
		"a duration": "duration('1s')", "bytes": "b'abc'", "a type": "type(1)",
		"a map of numbers": "{1: 'a'}", "a division by zero": "1 / 0",
		"no number": "0.0 / 0.0", "missing field": "self.nothing",
	} {
		t.Run(name, func(t *testing.T) {
			def, _ := shipped(t, "traefik")
			def.Spec.Weights.Fields[0].Value = value
			d, err := definition.Compile(def)
			if err != nil {
				t.Fatal(err)
			}
			in := routertest.Intent(routertest.Canary("aviary"))
			in.Split = router.Split{Primary: 100}
			if _, err := d.Render(t.Context(), traefikService(), in); err == nil {
				t.Error("it has a place")
			}
		})
	}
}
