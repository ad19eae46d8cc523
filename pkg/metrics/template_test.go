package metrics_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/siskin-dev/siskin/pkg/metrics"
)

func input() metrics.TemplateInput {
	return metrics.TemplateInput{
		Name: "podinfo", Namespace: "test", Revision: "podinfo-abc", Window: time.Minute,
		Names: metrics.Names{
			Apex: "web", Primary: "web-primary", Canary: "web-canary",
			Target: "podinfo", PrimaryWorkload: "podinfo-primary", CanaryWorkload: "podinfo-canary",
		},
		Variables: map[string]string{"path": "/api", "direction": "inbound"},
	}
}

func TestRender(t *testing.T) {
	for name, c := range map[string]struct{ query, want string }{
		"every function": {
			`{{ name }} {{ namespace }} {{ target }} {{ service }} {{ route }} {{ interval }} {{ primary }} {{ canary }} {{ revision }}`,
			`podinfo test podinfo-canary web web 60s podinfo-primary podinfo-canary podinfo-abc`,
		},
		"variables, as in Flagger":                        {`{{ variables.path }}{{variables.direction}}`, `/apiinbound`},
		"target before a role's suffix is the plain name": {`{{ target }}-primary {{target}}-canary-x {{ if true }}{{ target }}-primary{{ end }}`, `podinfo-primary podinfo-canary-x podinfo-primary`},
		"however the name is put together":                {`{{ printf "%s-primary" target }} {{ $t := target }}{{ $t }}-primary|{{ $t }} {{ target }}{{ "-primary" }} ({{- target -}} -canary)`, `podinfo-primary podinfo-primary|podinfo-canary podinfo-primary (podinfo-canary)`},
		"Flagger's pod pattern selects the canary's pods": {`pod=~"{{ target }}-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)"`, `pod=~"podinfo-canary-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)"`},
		"what is around is trimmed":                       {"\n  vector(1)\n", "vector(1)"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := metrics.Render(c.query, input())
			if err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestATemplateErrorSaysWhatToDo(t *testing.T) {
	for name, c := range map[string]struct{ query, want string }{
		"a missing variable is named": {`{{ variables.foo }}`, `variable "foo" is not set: add it to templateVariables of the metric (set are: direction, path)`},
		"an unknown function is named, with the known ones": {
			`{{ nmespace }}`,
			`"nmespace" in the query is not known: use canary, ingress, interval, name, namespace, primary, revision, route, service, target, variables`,
		},
		"syntax":               {"{{ namespace }", `the query is not a valid template: 1: unexpected "}" in operand`},
		"an Ingress is needed": {`{{ ingress }}`, `{{ ingress }}: this Canary has no Ingress: use {{ service }} or {{ route }}`},
		"empty":                {`{{ if false }}x{{ end }}`, `the query is empty after rendering: check its conditions`},
		"too long":             {`{{ printf "%100000d" 1 }}`, `the rendered query is larger than 65536 bytes`},
		"there is no dot":      {`{{ .Name }}`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := metrics.Render(c.query, input())
			typed, ok := errors.AsType[*metrics.TemplateError](err)
			if name == "there is no dot" {
				return
			}
			if !ok || typed.Message != c.want || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, error %v\nwant %s", got, err, c.want)
			}
		})
	}
}

func TestWindow(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		since time.Time
		want  string
	}{
		"no traffic yet: the whole interval":              {time.Time{}, "60s"},
		"traffic for long: the whole interval":            {now.Add(-time.Hour), "60s"},
		"traffic for a moment: only since then":           {now.Add(-12500*time.Millisecond - 700*time.Microsecond), "12500ms"},
		"traffic just now: a second":                      {now.Add(-time.Millisecond), "1s"},
		"traffic in the future (another clock): a second": {now.Add(time.Hour), "1s"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := metrics.PromDuration(metrics.Window(time.Minute, c.since, now)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestParseInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{"": time.Minute, "30s": 30 * time.Second, "1m30s": 90 * time.Second, "0s": 0, "5": 0} {
		got, err := metrics.ParseInterval(text)
		if got != want || (want == 0) != (err != nil) {
			t.Errorf("%q: got %s, %v", text, got, err)
		}
	}
}

func FuzzRender(f *testing.F) {
	f.Add(`sum(rate(x{ns="{{ namespace }}"}[{{ interval }}]))`)
	f.Add(`{{ variables.path | printf "%q" }}`)
	f.Add(`{{ range $i, $e := variables }}{{ target }}-primary{{ else }}x{{ end }}`)
	f.Fuzz(func(t *testing.T, query string) {
		if _, err := metrics.Render(query, input()); err != nil {
			if _, ok := errors.AsType[*metrics.TemplateError](err); !ok {
				t.Errorf("untyped error %v", err)
			}
		}
	})
}
