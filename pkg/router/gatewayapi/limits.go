package gatewayapi

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// What the API server takes of one HTTPRoute: the kubebuilder markers of the Gateway API 1.6. What is beyond is refused before anything is
// written, so that the Canary's author reads it and not the controller's log.
const (
	maxParents      = 32
	maxHostnames    = 16
	maxRules        = 16
	maxRuleMatches  = 64
	maxTotalMatches = 128
	// maxNames is how many headers, or query parameters, one match takes, and how many headers one filter sets, adds or removes.
	maxNames = 16
	// maxValue is the longest value of a header, in a match or in a filter; maxQuery that of a query parameter, maxPath that of a path.
	maxValue = 4096
	maxQuery = 1024
	maxPath  = 1024
)

// Names and durations that it takes.
var (
	headerName   = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+\\-.^_\x60|~]{1,256}$")
	timeoutValue = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)
)

// fitting refuses a value that is too long for what it is matched against. What is made of a prefix or suffix is longer than that.
func fitting(field, value string, most int) error {
	if n := len(value); n > most {
		return invalid(field, "it makes a value of %d characters, and an HTTPRoute takes %d: give a shorter one", n, most)
	}
	return nil
}

// counted refuses a match that has more headers or query parameters than one takes. They may come from both spec.service.match and the
// analysis: the field of the latter is told, because it has the narrower match.
func counted(what string, all map[string]condition) error {
	if len(all) <= maxNames {
		return nil
	}
	var fields []string
	for _, c := range all {
		fields = append(fields, c.field)
	}
	field := slices.Min(fields) // spec.analysis before spec.service
	if i := strings.LastIndex(field, "["); i > 0 && strings.HasSuffix(field, "]") {
		field = field[:i]
	}
	return invalid(field, "a match of an HTTPRoute takes %d %s, and with those of spec.service.match and sessionAffinity these are %d: match fewer", maxNames, what, len(all))
}

// section refuses a second reference to one parent that is not told from the first.
func section(field string, before []gatewayv1.ParentReference, ref gatewayv1.ParentReference) error {
	at := func(p gatewayv1.ParentReference) [4]string {
		return [4]string{string(*p.Group), string(*p.Kind), string(ptr.Deref(p.Namespace, "")), string(p.Name)}
	}
	for _, r := range before {
		alone := ptr.Deref(r.SectionName, "") == "" || ptr.Deref(ref.SectionName, "") == ""
		if at(r) == at(ref) && (alone || *r.SectionName == *ref.SectionName) && ptr.Deref(r.Port, 0) == ptr.Deref(ref.Port, 0) {
			return invalid(field, "%s %s is named more than once: give each reference to it another sectionName, or remove one", *ref.Kind, ref.Name)
		}
	}
	return nil
}

// header checks the filter that Siskin makes of one of spec.service.headers.
func header(field string, f *gatewayv1.HTTPHeaderFilter) error {
	for _, list := range []struct {
		name    string
		headers []gatewayv1.HTTPHeader
	}{{field + ".set", f.Set}, {field + ".add", f.Add}} {
		if n := len(list.headers); n > maxNames {
			return invalid(list.name, "an HTTPRoute takes %d, and these are %d: name fewer", maxNames, n)
		}
		for _, h := range list.headers {
			at := fmt.Sprintf("%s[%s]", list.name, h.Name)
			switch {
			case !headerName.MatchString(string(h.Name)):
				return invalid(at, "%q is no name of a header: correct it", h.Name)
			case h.Value == "":
				return invalid(at, "an HTTPRoute takes no empty value: give one, or remove the header")
			}
			if err := fitting(at, h.Value, maxValue); err != nil {
				return err
			}
		}
	}
	if n := len(f.Remove); n > maxNames {
		return invalid(field+".remove", "an HTTPRoute takes %d, and these are %d: name fewer", maxNames, n)
	}
	for i, name := range f.Remove {
		if slices.Contains(f.Remove[:i], name) {
			return invalid(fmt.Sprintf("%s.remove[%d]", field, i), "%q is named twice: remove one", name)
		}
	}
	return nil
}

// listed refuses lists of spec.service that are longer than an HTTPRoute's.
func listed(field string, have, most int) error {
	if have <= most {
		return nil
	}
	return invalid(field, "an HTTPRoute takes %d, and these are %d: name fewer", most, have)
}
