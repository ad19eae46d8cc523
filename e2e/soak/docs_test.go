package soak

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/siskin-dev/siskin/e2e/fixtures"
)

var update = flag.Bool("update", false, "write the table into docs/testing.md")

// The docs show the table that the soak test is held against.
func TestTheDocsShowTheTable(t *testing.T) {
	const begin, end = "<!-- table of faults: begin -->\n", "<!-- table of faults: end -->"
	root, err := fixtures.Root()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "docs", "testing.md")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	shown, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no place for the table", file)
	}
	if shown == Markdown() {
		return
	}
	if !*update {
		t.Fatalf("%s is not up to date: go test ./e2e/soak -run TestTheDocs -update", file)
	}
	if err := os.WriteFile(file, []byte(before+begin+Markdown()+end+after), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Every fault of the table is one that somebody knows how to do, in a moment that can come.
func TestEveryFaultIsKnown(t *testing.T) {
	names := map[string]bool{}
	known := &turn{app: &app{w: &world{}}}
	does := known.doers()
	for _, r := range Rows() {
		if names[r.Name] {
			t.Errorf("%s is there twice", r.Name)
		}
		names[r.Name] = true
		if _, ok := does[r.Name]; !ok {
			t.Errorf("nobody knows how to do %s", r.Name)
		}
		if len(r.Outcomes) == 0 {
			t.Errorf("%s never happens", r.Name)
		}
		if r.GoodOnly && len(r.Outcomes[RollingBack]) > 0 {
			t.Errorf("%s: a good version is not rolled back", r.Name)
		}
	}
	for name := range does {
		if !names[name] {
			t.Errorf("%s is not in the table", name)
		}
	}
}
