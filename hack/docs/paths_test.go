package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the documentation points to is there: paths of the repository, links between pages, and targets of make.
func TestPathsAndTargetsExist(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"README.md", "CONTRIBUTING.md", "e2e/cluster/README.md"} {
		pages = append(pages, filepath.Join(root, page))
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	path := regexp.MustCompile("`(?:\\./)?((?:api|cmd|pkg|e2e|hack|docs|tools|kustomize)/[A-Za-z0-9_./*{},-]+)`")
	link := regexp.MustCompile(`\]\(([^):#]+)(?:#[^)]*)?\)`)
	target := regexp.MustCompile("`make ([a-z][a-z0-9-]*)")
	found := 0
	for _, page := range pages {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		for _, m := range path.FindAllStringSubmatch(text, -1) {
			found++
			if !there(t, filepath.Join(root, m[1])) {
				t.Errorf("%s names %s, which is not there", page, m[1])
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			found++
			if !there(t, filepath.Join(filepath.Dir(page), m[1])) {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			}
		}
		for _, m := range target.FindAllStringSubmatch(text, -1) {
			found++
			if !regexp.MustCompile("(?m)^" + regexp.QuoteMeta(m[1]) + ":").Match(makefile) {
				t.Errorf("%s names make %s, which the Makefile does not have", page, m[1])
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d references were found", found)
	}
}

// there tells whether a path exists; * and {a,b} stand for what a shell makes of them.
func there(t *testing.T, path string) bool {
	t.Helper()
	if before, rest, ok := strings.Cut(path, "{"); ok {
		if alternatives, after, closed := strings.Cut(rest, "}"); closed {
			for one := range strings.SplitSeq(alternatives, ",") {
				if !there(t, before+one+after) {
					return false
				}
			}
			return true
		}
	}
	files, err := filepath.Glob(strings.TrimSuffix(path, "/..."))
	if err != nil {
		t.Fatal(err)
	}
	return len(files) > 0
}
