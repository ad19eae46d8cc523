package definition_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/definition"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// shipped reads a definition of kustomize/routers and the ClusterRole that comes with it.
func shipped(t *testing.T, name string) (*siskinv1.RouterDefinition, rbacv1.ClusterRole) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../../kustomize/routers", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	first, second, _ := strings.Cut(string(data), "\n---\n")
	var def siskinv1.RouterDefinition
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict([]byte(first), &def); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := yaml.UnmarshalStrict([]byte(second), &role); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return &def, role
}

func allShipped(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../../kustomize/routers/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".yaml"); name != "kustomization" {
			out = append(out, name)
		}
	}
	want := []string{"alb", "apisix", "contour", "gloo", "knative", "kuma", "skipper", "traefik"}
	if !slices.Equal(out, want) {
		t.Fatalf("kustomize/routers has %v, want %v", out, want)
	}
	return out
}

// TestShippedDefinitions : what each fixture expects becomes of it, and the rights that come with a definition are
// those that it needs.
func TestShippedDefinitions(t *testing.T) {
	for _, name := range allShipped(t) {
		t.Run(name, func(t *testing.T) {
			def, role := shipped(t, name)
			results, err := definition.Verify(t.Context(), def)
			if err != nil || def.Name != name || len(results) < 2 {
				t.Fatalf("%s has %d fixtures: %v", def.Name, len(results), err)
			}
			for _, r := range results {
				if r.Problem != "" {
					t.Errorf("%s: %s\n%s", r.Fixture, r.Problem, r.Diff)
				}
			}
			if problem := definition.CheckRole(def, []rbacv1.ClusterRole{role}); problem != "" {
				t.Error(problem)
			}
		})
	}
}

// TestEverySplitIsReadBack : of every definition and every object of its fixtures, each whole percentage is said and
// read as it is.
func TestEverySplitIsReadBack(t *testing.T) {
	for _, name := range allShipped(t) {
		t.Run(name, func(t *testing.T) {
			def, _ := shipped(t, name)
			d, err := definition.Compile(def)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range def.Spec.Fixtures {
				var authors map[string]any
				if err := json.Unmarshal(f.Object.Raw, &authors); err != nil {
					t.Fatal(err)
				}
				in := routertest.Intent(routertest.Canary("aviary"))
				for canary := range int32(101) {
					in.Split = router.Split{Primary: 100 - canary, Canary: canary}
					obj, err := d.Render(t.Context(), authors, in)
					if err != nil {
						t.Fatalf("%s: %v", f.Name, err)
					}
					said, known, err := d.States(t.Context(), obj, in)
					if err != nil || !known || said != in.Split {
						t.Fatalf("%s: %s is read as %s (%t): %v", f.Name, in.Split, said, known, err)
					}
				}
			}
		})
	}
}
