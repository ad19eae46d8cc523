package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite what README.md, docs/design.md and docs/routers.md say of what is there")

// expected are what people who come from other tools look for. What of it is there is read from the code, the rest is
// not there yet.
type expected struct {
	what  string
	names []string
	have  []string
}

// missing are what no registry has. Each names the field of a CRD that will bring it, or a folder of the repository.
func missing() []struct{ text, crd, path string } {
	return []struct{ text, crd, path string }{
		{"comparing canary with primary", "canaries", "spec.analysis.metrics.comparison"},
		{"signature checks of commits in GitSync", "gitsyncs", "spec.verify"},
		{"decryption in GitSync", "gitsyncs", "spec.decryption"},
		{"image updates and restore commits to git", "gitsyncs", "spec.push"},
		{"a load tester", "", "cmd/loadtester"},
	}
}

// TestWhatIsNotThereYet holds the lists of README.md and docs/design.md to the code.
func TestWhatIsNotThereYet(t *testing.T) {
	target := field(t, "canaries", "spec.targetRef.kind")
	lists := []expected{
		{"targets", []string{"Deployment", "DaemonSet", "StatefulSet", "Service"}, enum(target)},
		{"autoscalers", []string{"HorizontalPodAutoscaler", "ScaledObject"}, enum(field(t, "canaries", "spec.autoscalerRef.kind"))},
		{"routers", []string{
			"apisix", "appmesh", "contour", "gatewayapi", "gloo", "istio", "knative", "kubernetes", "kuma", "linkerd", "nginx", "skipper", "traefik",
		}, plain(routers().Names())},
		{"metric providers", []string{
			"cloudwatch", "datadog", "dynatrace", "graphite", "influxdb", "newrelic", "prometheus", "stackdriver",
		}, slices.Sorted(maps.Keys(metricProviders()))},
		{"notifiers", []string{"discord", "gchat", "msteams", "rocket", "slack"}, slices.Sorted(maps.Keys(notifiers()))},
	}
	// What the CRDs take and what is registered is the same.
	for crd, have := range map[string][]string{"metrictemplates": lists[3].have, "alertproviders": lists[4].have} {
		path := map[string]string{"metrictemplates": "spec.provider.type", "alertproviders": "spec.type"}[crd]
		if takes := enum(field(t, crd, path)); !slices.Equal(takes, have) {
			t.Errorf("%s takes %v at %s, registered are %v", crd, takes, path, have)
		}
	}
	var there, yet []string
	for _, l := range lists {
		there = append(there, l.what+" "+strings.Join(l.have, ", "))
		if rest := slices.DeleteFunc(slices.Clone(l.names), func(n string) bool { return slices.Contains(l.have, n) }); len(rest) > 0 {
			yet = append(yet, l.what+" "+strings.Join(rest, ", "))
		}
	}
	for _, m := range missing() {
		if m.crd == "" {
			if _, err := os.Stat(filepath.Join("../..", m.path)); err == nil {
				t.Errorf("%s is there: take %q out of missing", m.path, m.text)
			}
		} else if field(t, m.crd, m.path) != nil {
			t.Errorf("%s has %s: take %q out of missing", m.crd, m.path, m.text)
		}
		yet = append(yet, m.text)
	}
	hold(t, "../../README.md", "not there yet", fmt.Sprintf("- There: %s.\n- Not there yet: %s.\n", strings.Join(there, "; "), strings.Join(yet, "; ")))
	hold(t, "../../docs/design.md", "not there yet", "- "+strings.Join(yet, "\n- ")+"\n")
}

// plain leaves out names with a version, which are other spellings.
func plain(names []string) []string {
	return slices.DeleteFunc(names, func(n string) bool { return strings.Contains(n, ":") })
}

// hold compares the text between the marks of a file, wrapped, or writes it.
func hold(t *testing.T, file, mark, text string) {
	t.Helper()
	begin, end := "<!-- "+mark+": begin, written by go test ./cmd/siskin -update -->\n", "<!-- "+mark+": end -->\n"
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(raw), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no marks", file)
	}
	want := before + begin + wrap(text) + end + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(raw) {
		t.Errorf("%s is not true any more: go test ./cmd/siskin -update; it must say\n%s", file, wrap(text))
	}
}

// wrap breaks the lines of a list at 120 columns.
func wrap(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		width := 0
		for i, word := range strings.Fields(line) {
			switch {
			case i == 0:
			case width+1+len(word) > 120:
				b.WriteString("\n  ")
				width = 2
			default:
				b.WriteString(" ")
				width++
			}
			b.WriteString(word)
			width += len(word)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// field finds the field of a CRD; lists are passed through. It is nil if there is none.
func field(t *testing.T, crd, path string) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	raw, err := os.ReadFile("../../kustomize/crd/siskin.dev_" + crd + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var def apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(raw, &def); err != nil {
		t.Fatal(err)
	}
	at := def.Spec.Versions[0].Schema.OpenAPIV3Schema
	for name := range strings.SplitSeq(path, ".") {
		if at.Items != nil {
			at = at.Items.Schema
		}
		next, ok := at.Properties[name]
		if !ok {
			return nil
		}
		at = &next
	}
	return at
}

func enum(s *apiextensionsv1.JSONSchemaProps) []string {
	var out []string
	for _, v := range s.Enum {
		out = append(out, strings.Trim(string(v.Raw), `"`))
	}
	return out
}

// TestInvariantsAreNumbered : comments and worlds name the invariants of docs/design.md by their numbers.
func TestInvariantsAreNumbered(t *testing.T) {
	raw, err := os.ReadFile("../../docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(raw), "\n## Invariants\n")
	text, _, _ = strings.Cut(text, "\n## ")
	items := regexp.MustCompile(`(?m)^(\d+)\. `).FindAllStringSubmatch(text, -1)
	for i, item := range items {
		if item[1] != strconv.Itoa(i+1) {
			t.Errorf("invariant %d has the number %s", i+1, item[1])
		}
	}
	worlds, err := filepath.Glob("../../pkg/canary/plan/world_*_test.go")
	if err != nil || len(worlds) == 0 || len(items) == 0 {
		t.Fatalf("%d invariants, %d files of worlds, %v", len(items), len(worlds), err)
	}
	for _, file := range worlds {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`violated\("([^"]*)"`).FindAllStringSubmatch(string(raw), -1) {
			number, _, _ := strings.Cut(m[1], ":")
			if n, err := strconv.Atoi(number); err == nil && (n < 1 || n > len(items)) {
				t.Errorf("%s: there is no invariant %d", file, n)
			}
		}
	}
}
