// Package docs holds tests of what the documentation says about the code.
package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// W1 to W32 of docs/flagger.md: each names tests that exist, or says why there is none.
func TestFlaggersDefectsHaveTests(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "docs", "flagger.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| (W\d+) \| .* \| (.*) \|$`)
	reference := regexp.MustCompile("`([a-z0-9/]+):(Test\\w+)(?:/(W\\d+))?`")
	seen := map[string]bool{}
	for _, m := range row.FindAllStringSubmatch(string(raw), -1) {
		number, cell := m[1], m[2]
		seen[number] = true
		refs := reference.FindAllStringSubmatch(cell, -1)
		if len(refs) == 0 && !strings.HasPrefix(cell, "none: ") {
			t.Errorf("%s names no test and does not say why", number)
		}
		for _, ref := range refs {
			if !exists(t, ref[1], ref[2], ref[3]) {
				t.Errorf("%s: %s does not exist", number, ref[0])
			}
		}
	}
	for i := 1; i <= 32; i++ {
		if number := "W" + strconv.Itoa(i); !seen[number] {
			t.Errorf("docs/flagger.md says nothing about %s", number)
		}
	}
}

// exists tells whether a package has a test, and, if cases is not empty, one whose name begins with that word.
func exists(t *testing.T, pkg, test, cases string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pkg), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == test {
				return cases == "" || names(f, cases)
			}
		}
	}
	return false
}

// names tells whether a string in f begins with the word.
func names(f *ast.FuncDecl, word string) bool {
	found := false
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && strings.HasPrefix(lit.Value, `"`+word+" ") {
			found = true
		}
		return !found
	})
	return found
}
