package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// docs/alerts.md names every notice that the planner sends to people's channels, with its severity, and none that it
// does not know.
func TestNoticesAreDocumented(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "docs", "alerts.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*`) \\| ([^|]*) \\|").FindAllStringSubmatch(string(raw), -1) {
		for _, name := range regexp.MustCompile("`([A-Z][A-Za-z]+)`").FindAllStringSubmatch(row[1], -1) {
			documented[name[1]] = row[2]
		}
	}
	alerts, words := notices(t)
	if len(alerts) < 10 {
		t.Fatalf("found only %v: has package plan changed?", alerts)
	}
	for _, reason := range slices.Sorted(maps.Keys(alerts)) {
		severity, ok := documented[reason]
		if !ok {
			t.Errorf("docs/alerts.md does not name the notice %s", reason)
		} else if !strings.Contains(severity, alerts[reason]) {
			t.Errorf("docs/alerts.md says that %s is %s, but it is %s", reason, severity, alerts[reason])
		}
	}
	_, channels, _ := strings.Cut(string(raw), "All of these are Kubernetes events too")
	events, _, _ := strings.Cut(channels, "\n## ")
	for _, name := range regexp.MustCompile("`([A-Z][A-Za-z]+)`").FindAllStringSubmatch(events, -1) {
		documented[name[1]] = ""
	}
	for _, reason := range slices.Sorted(maps.Keys(documented)) {
		if !words[reason] {
			t.Errorf("docs/alerts.md names %s, which the planner does not know", reason)
		}
	}
}

// notices reads package plan: the severity of each Notice that is written out with Alert, and every string.
func notices(t *testing.T) (alerts map[string]string, words map[string]bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "pkg/canary/plan/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	alerts, words = map[string]string{}, map[string]bool{}
	severities := map[string]string{"Info": "info", "Warning": "warn", "Error": "error"}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil {
					words[s] = true
				}
			}
			if lit, ok := n.(*ast.CompositeLit); ok && name(lit.Type) == "Notice" {
				fields := map[string]ast.Expr{}
				for _, e := range lit.Elts {
					if kv, ok := e.(*ast.KeyValueExpr); ok {
						fields[name(kv.Key)] = kv.Value
					}
				}
				reason, ok := fields["Reason"].(*ast.BasicLit)
				if ok && name(fields["Alert"]) == "true" {
					alerts[strings.Trim(reason.Value, `"`)] = severities[name(fields["Severity"])]
				}
			}
			return true
		})
	}
	return alerts, words
}

func name(e ast.Expr) string {
	if id, ok := e.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}
