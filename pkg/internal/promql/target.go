package promql

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// The clones of a target are named by these suffixes.
const (
	primarySuffix = "-primary"
	canarySuffix  = "-canary"
)

// Target is what tells the pods of a target's clones apart, and what does not: in Flagger the label by which pods are
// selected has another value on each version, here all pods keep the target's.
type Target struct {
	// Name and Kind of the target.
	Name, Kind string
	// Labels of its pods.
	Labels map[string]string
	// Containers are the names of those of its pods.
	Containers []string
}

// TargetOf returns the target that a Canary names, whose pods are made of a template; nil: they are not known.
func TargetOf(ref siskinv1.TargetRef, pods *corev1.PodTemplateSpec) Target {
	t := Target{Name: ref.Name, Kind: ref.Kind}
	if pods == nil {
		return t
	}
	t.Labels = pods.Labels
	for i := range pods.Spec.Containers {
		t.Containers = append(t.Containers, pods.Spec.Containers[i].Name)
	}
	return t
}

// shared is the value of a label of a series that the pods of all versions have.
func (t Target) shared(label string) (string, bool) {
	if slices.Contains([]string{"container", "container_name", "k8s_container_name"}, label) {
		return t.Name, slices.Contains(t.Containers, t.Name)
	}
	if reserved(label) {
		return "", false
	}
	if label == "destination_canonical_service" || label == "source_canonical_service" {
		for _, key := range []string{"service.istio.io/canonical-name", "app.kubernetes.io/name", "app"} { // as Istio looks for it
			if value := t.Labels[key]; value != "" {
				return value, true
			}
		}
		return "", false
	}
	for _, prefix := range []string{"", "label_", "destination_", "source_"} {
		name, ok := strings.CutPrefix(label, prefix)
		if !ok {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(t.Labels)) {
			if value := t.Labels[key]; sanitized(key) == name && value != "" && (prefix == "" || prefix == "label_" || name == "app") {
				return value, true
			}
		}
	}
	return "", false
}

// role of the clone that a matcher selects by the value that a label which all versions share has in Flagger. both
// tells that it selects all versions.
func (m Matcher) role(shared string) (suffixes []string, both bool) {
	matches := func(value string) bool { return m.Value == value }
	if strings.HasSuffix(m.Op, "~") {
		re, err := regexp.Compile("^(?s:" + m.Value + ")$")
		if err != nil {
			return nil, false
		}
		matches = re.MatchString
	}
	for _, suffix := range []string{primarySuffix, canarySuffix} {
		if matches(shared + suffix) {
			suffixes = append(suffixes, suffix)
		}
	}
	return suffixes, matches(shared)
}

// clones is a regular expression for the pods of clones, or the matcher of their names where the label's series have
// these.
func (t Target) clones(label, pod, op string, suffixes []string) Matcher {
	var patterns []string
	for _, prefix := range []string{"destination_", "source_"} { // a mesh tells no pods
		if strings.HasPrefix(label, prefix) {
			for _, s := range suffixes {
				patterns = append(patterns, regexp.QuoteMeta(t.Name+s))
			}
			return Matcher{prefix + "workload", op, strings.Join(patterns, "|")}
		}
	}
	for _, s := range suffixes {
		patterns = append(patterns, PodPattern(t.Kind, t.Name+s))
	}
	return Matcher{pod, op, strings.Join(patterns, "|")}
}

// Narrow answers a query that selects a version by the value of a label, as it is in Flagger, for example app="web-
// canary", by the pods of that version: app="web",pod=~"web-canary-...". All other matchers stay as they are.
func (t Target) Narrow(query string) string {
	return t.rewrite(query, func(m Matcher, shared string) (Matcher, []string) {
		suffixes, both := m.role(shared)
		if both || len(suffixes) == 0 {
			return m, nil
		}
		if m.Op[0] == '!' {
			return m, suffixes
		}
		return Matcher{m.Label, "=", shared}, suffixes
	})
}

// rewrite has edit look at each matcher of a label that all versions share. It returns what becomes of it, and the
// clones that the selector is narrowed to.
func (t Target) rewrite(query string, edit func(m Matcher, shared string) (Matcher, []string)) string {
	fallback := podLabelOf(query)
	return Rewrite(query, func(selector []Matcher) Edit {
		e := Edit{Replace: map[int]Matcher{}}
		pod, ok := podLabel(selector)
		if !ok {
			pod = fallback
		}
		for i, m := range selector {
			value, ok := t.shared(m.Label)
			if !ok {
				continue
			}
			next, suffixes := edit(m, value)
			if next != m {
				e.Replace[i] = next
			}
			if len(suffixes) == 0 {
				continue
			}
			op := "=~"
			if m.Op[0] == '!' {
				op = "!~"
			}
			if narrowed := t.clones(m.Label, pod, op, suffixes); !slices.Contains(e.Add, narrowed) {
				e.Add = append(e.Add, narrowed)
			}
		}
		return e
	})
}

// OfPrimary makes a query about the target, or about a clone, one about the primary. What names a workload or a pod is
// given the primary's name. Labels that all pods share stay as they are, or would select nothing: during a rollout the
// canary's part counts too.
func (t Target) OfPrimary(query string) string { return t.Unnamed(t.named(query, primarySuffix)) }

// Unnamed gives labels that all pods share, and that a query compares with the value which a version has in Flagger,
// the value that they have here.
func (t Target) Unnamed(query string) string {
	return t.rewrite(query, func(m Matcher, shared string) (Matcher, []string) {
		if suffixes, both := m.role(shared); m.Op[0] != '!' && !both && len(suffixes) > 0 {
			return Matcher{m.Label, "=", shared}, nil
		}
		return m, nil
	})
}

// OfCanary makes a query about the target one about the canary: labels that all pods share are narrowed to the
// canary's pods.
func (t Target) OfCanary(query string) string {
	return t.rewrite(t.named(query, canarySuffix), func(m Matcher, shared string) (Matcher, []string) {
		if suffixes, both := m.role(shared); m.Op[0] != '!' && (both || len(suffixes) > 0) {
			return Matcher{m.Label, "=", shared}, []string{canarySuffix}
		}
		return m, nil
	})
}

// named gives labels that name a workload or its pods the name of a clone. What a query leaves out stays left out, unless
// it is that clone: then it is the other one. An expression that has room for all clones, such as web-(canary|primary)-.*,
// and would have none for a name more, is narrowed instead.
func (t Target) named(query, suffix string) string {
	clone, other := t.Name+suffix, t.Name+primarySuffix
	if suffix == primarySuffix {
		other = t.Name + canarySuffix
	}
	included := func(string) string { return clone }
	excluded := func(found string) string {
		if found == clone {
			return other
		}
		return found
	}
	return Rewrite(query, func(selector []Matcher) Edit {
		e := Edit{Replace: map[int]Matcher{}}
		for i, m := range selector {
			if !namesWorkload(m.Label) {
				continue
			}
			to := included
			if m.Op[0] == '!' {
				to = excluded
			}
			switch next := (Matcher{m.Label, m.Op, rename(m.Value, t.Name, to)}); {
			case next == m:
			case m.Op == "=~" && m.reaches(clone) && !next.reaches(clone):
				e.Add = append(e.Add, Matcher{m.Label, "=~", regexp.QuoteMeta(clone) + "(-.+)?"})
			default:
				e.Replace[i] = next
			}
		}
		return e
	})
}

// reaches tells whether an expression selects a workload, or pods of it.
func (m Matcher) reaches(workload string) bool {
	re, err := regexp.Compile("^(?s:" + m.Value + ")$")
	if err != nil {
		return false
	}
	return slices.ContainsFunc([]string{"", "-0", "-7d9c5b8f6d", "-x2x4a", "-7d9c5b8f6d-x2x4a"}, func(rest string) bool {
		return re.MatchString(workload + rest)
	})
}

// Advice tells what to write if a query, as Narrow left it, has found nothing because of how it selects a version: it
// compares a label that all pods share with a name that no pod has, or it was narrowed by a label that the series may
// not have. "" if it does neither.
func (t Target) Advice(query string) string {
	var advice string
	Rewrite(query, func(selector []Matcher) Edit {
		if advice == "" {
			advice = t.advice(selector)
		}
		return Edit{}
	})
	return advice
}

func (t Target) advice(selector []Matcher) string {
	pod, ok := podLabel(selector)
	if !ok {
		pod = defaultPod
	}
	for _, m := range selector {
		value, ok := t.shared(m.Label)
		if !ok || m.Op[0] == '!' {
			continue
		}
		suffixes, both := m.role(value)
		if named, _ := m.role(t.Name); !both && len(suffixes) == 0 && len(named) > 0 {
			return fmt.Sprintf(`%s names no pod, for the label's value is %q on all pods: `+
				`write %s,%s=~"{{ canary }}-.+"`, m, value, Matcher{m.Label, "=", value}, pod)
		}
		for _, suffix := range []string{primarySuffix, canarySuffix} {
			if narrowed := t.clones(m.Label, pod, "=~", []string{suffix}); both && slices.Contains(selector, narrowed) {
				return fmt.Sprintf("only series with %s were looked at, for %s is on the pods of all versions: "+
					"if yours name pods by another label than %s, write it in the query", narrowed, m, narrowed.Label)
			}
		}
	}
	return ""
}

// rename replaces the name of the target, or of a clone, by what to makes of it, where it is a word of its own: not in
// the name of something else that begins or ends with it.
func rename(text, name string, to func(found string) string) string {
	if name == "" {
		return text
	}
	var out strings.Builder
	for rest, before := text, byte(0); ; {
		i := strings.Index(rest, name)
		if i < 0 {
			out.WriteString(rest)
			return out.String()
		}
		if i > 0 {
			before = rest[i-1]
		}
		out.WriteString(rest[:i])
		after := rest[i+len(name):]
		found := name
		for _, of := range []string{primarySuffix, canarySuffix} {
			if more, ok := strings.CutPrefix(after, of); ok && ends(more) {
				found, after = name+of, more
				break
			}
		}
		if !inName(before) && before != '-' && ends(after) {
			out.WriteString(to(found))
		} else {
			out.WriteString(found)
		}
		rest, before = after, found[len(found)-1]
	}
}

// ends tells whether a name that text follows has ended: "-" goes on only before a letter or a digit, so that
// web-[a-z0-9]+ and web-.* are pods of web, and web-api is another app.
func ends(text string) bool {
	if text == "" {
		return true
	}
	if text[0] == '-' {
		return len(text) < 2 || !inName(text[1])
	}
	return !inName(text[0])
}
