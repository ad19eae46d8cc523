package metrics

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

const (
	defaultInterval = time.Minute
	leastWindow     = time.Second
	// maxQuery is the largest rendered query in bytes.
	maxQuery = 64 << 10
)

// TemplateError : the query cannot be rendered; only an edit helps.
type TemplateError struct {
	// Message is one line that says what is wrong and what to do.
	Message string
}

func (e *TemplateError) Error() string { return e.Message }

// TemplateInput is what a query is rendered with.
type TemplateInput struct {
	// Name and Namespace of the Canary.
	Name, Namespace string
	Names           Names
	Revision        string
	// Window of the query.
	Window    time.Duration
	Variables map[string]string
}

// Render renders the query of a MetricTemplate, or an inline one. Errors are *TemplateError.
//
// {{ target }} is the workload of the version on trial, as it is in Flagger, and is followed by its pods; in
// "{{ target }}-primary" and "{{ target }}-canary" it is the plain name of the target.
func Render(query string, in TemplateInput) (string, error) {
	funcs := in.functions()
	t, err := template.New("query").Option("missingkey=error").Funcs(funcs).Parse(query)
	if err != nil {
		return "", templateError(err, in, funcs)
	}
	var out limitedBuilder
	if err := t.Execute(&out, nil); err != nil {
		return "", templateError(err, in, funcs)
	}
	text := strings.TrimSpace(in.plainTargets(out.String()))
	if text == "" {
		return "", &TemplateError{Message: "the query is empty after rendering: check its conditions"}
	}
	return text, nil
}

func (in TemplateInput) functions() template.FuncMap {
	text := func(s string) func() string { return func() string { return s } }
	route := in.Names.Route
	if route == "" {
		route = in.Names.Apex
	}
	variables := in.Variables
	if variables == nil {
		variables = map[string]string{}
	}
	return template.FuncMap{
		"name":      text(in.Name),
		"namespace": text(in.Namespace),
		"target":    text(in.Names.CanaryWorkload),
		"primary":   text(in.Names.PrimaryWorkload),
		"canary":    text(in.Names.CanaryWorkload),
		"service":   text(in.Names.Apex),
		"route":     text(route),
		"revision":  text(in.Revision),
		"interval":  text(PromDuration(in.Window)),
		"ingress": func() (string, error) {
			if in.Names.Ingress == "" {
				return "", errors.New("{{ ingress }}: this Canary has no Ingress: use {{ service }} or {{ route }}")
			}
			return in.Names.Ingress, nil
		},
		"variables": func() map[string]string { return variables },
	}
}

// plainTargets makes of the workload on trial the plain name of the target where -primary or -canary follows, in whatever
// way the template put them together: no workload can be called so beside the clones.
func (in TemplateInput) plainTargets(text string) string {
	names := in.Names
	return strings.NewReplacer(
		names.CanaryWorkload+"-primary", names.Target+"-primary", names.CanaryWorkload+"-canary", names.Target+"-canary",
	).Replace(text)
}

// templateError says what to do about the usual mistakes. text/template has no typed errors for them.
func templateError(err error, in TemplateInput, funcs template.FuncMap) error {
	text := strings.Join(strings.Fields(err.Error()), " ")
	switch {
	case errors.Is(err, errTooLong):
		return &TemplateError{Message: fmt.Sprintf("the rendered query is larger than %d bytes", maxQuery)}
	case strings.Contains(text, "map has no entry for key "):
		_, key, _ := strings.Cut(text, "map has no entry for key ")
		return &TemplateError{Message: fmt.Sprintf("variable %s is not set: add it to templateVariables of the metric (set are: %s)",
			key, list(slices.Sorted(maps.Keys(in.Variables))))}
	case strings.Contains(text, "function ") && strings.HasSuffix(text, " not defined"):
		_, name, _ := strings.Cut(text, "function ")
		return &TemplateError{Message: fmt.Sprintf("%s in the query is not known: use %s",
			strings.TrimSuffix(name, " not defined"), list(slices.Sorted(maps.Keys(funcs))))}
	}
	if _, own, ok := strings.Cut(text, "error calling ingress: "); ok {
		return &TemplateError{Message: own}
	}
	return &TemplateError{Message: "the query is not a valid template: " + strings.TrimPrefix(text, "template: query:")}
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Window is the window of a query: the metric's interval, but never back before since, at least 1s, in whole milliseconds.
func Window(interval time.Duration, since, now time.Time) time.Duration {
	window := interval
	if !since.IsZero() {
		window = min(window, now.Sub(since))
	}
	return max(window, leastWindow).Truncate(time.Millisecond)
}

// ParseInterval reads a metric's interval; empty is 1m. Errors are *TemplateError.
func ParseInterval(text string) (time.Duration, error) {
	if text == "" {
		return defaultInterval, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, &TemplateError{Message: fmt.Sprintf("interval %q is not a positive duration: use for example 1m or 30s", text)}
	}
	return d, nil
}

// PromDuration writes a duration as PromQL has it, for example 60s or 1500ms. It is never empty nor zero.
func PromDuration(d time.Duration) string {
	d = max(d, time.Millisecond).Truncate(time.Millisecond)
	if d%time.Second == 0 {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}

var errTooLong = errors.New("too long")

// limitedBuilder keeps a template from filling the memory.
type limitedBuilder struct{ strings.Builder }

func (b *limitedBuilder) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxQuery {
		return 0, errTooLong
	}
	return b.Builder.Write(p)
}
