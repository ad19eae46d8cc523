package canary_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// TestNoPassWaitsForWritesOfOthers : a list that waits until the cache has seen all writes of its kind makes each
// rollout wait for all. A rollout, a neighbour that is adopted, and a deletion go without.
func TestNoPassWaitsForWritesOfOthers(t *testing.T) {
	play(t, newCanary(), func(s *stage) {
		extra := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "metrics", Namespace: "shop"}}
		extra.Spec.Selector, extra.Spec.Ports = map[string]string{"app": "web"}, []corev1.ServicePort{{Port: 9000}}
		if err := s.api.Create(s.t.Context(), extra); err != nil {
			s.t.Fatal(err)
		}
		s.until(siskinv1.PhaseInitialized)
		s.image("web:2")
		s.until(siskinv1.PhaseSucceeded)
		var adopted corev1.Service
		if s.get("metrics", &adopted); adopted.Spec.Selector[siskinv1.RoleLabel] != siskinv1.RolePrimary {
			s.t.Errorf("the test needs a Service that is adopted: %v", adopted.Spec.Selector)
		}
		if err := s.api.Delete(s.t.Context(), s.canary()); err != nil {
			s.t.Fatal(err)
		}
		for i := 0; s.api.Get(s.t.Context(), web, &siskinv1.Canary{}) == nil && i < 20; i++ {
			s.kubelet()
			s.sleep(s.pass().RequeueAfter)
		}
		if waiting := s.writes.Waiting(); len(waiting) > 0 {
			s.t.Errorf("lists that wait for everybody's writes: %v", waiting)
		}
	})
}

// TestEveryListSaysThatItWaitsForNobody : the lists that no story reaches, and those to come.
func TestEveryListSaysThatItWaitsForNobody(t *testing.T) {
	seen := 0
	for _, dir := range []string{".", "../router"} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if path == "act/abandon.go" { // what is left for ever must be found, also what was made in the pass before; it is one list in a lifetime
				return nil
			}
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(filepath.Dir(path), "test") {
				return err
			}
			files := token.NewFileSet()
			parsed, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, decl := range parsed.Decls {
				lists, says := lists(decl)
				if seen += lists; lists > says {
					t.Errorf("%s: %d lists, of which %d say DisableReadYourWritesConsistency: without, a pass waits for the writes of all Canaries",
						files.Position(decl.Pos()), lists, says)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 10 {
		t.Errorf("only %d lists were found: the test looks in the wrong place", seen)
	}
}

// lists counts the calls of a client's List in a declaration, and how often it says that a list waits for nobody.
func lists(decl ast.Decl) (calls, says int) {
	ast.Inspect(decl, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "List" && len(n.Args) > 1 {
				calls++
			}
		case *ast.SelectorExpr:
			if n.Sel.Name == "DisableReadYourWritesConsistency" {
				says++
			}
		}
		return true
	})
	return calls, says
}
