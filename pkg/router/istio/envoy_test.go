package istio_test

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	networking "istio.io/api/networking/v1alpha3"
)

// asked is a request as a proxy sees it.
type asked struct {
	path, method, host, gateway string
	headers, query, labels      map[string]string
	port                        uint32
}

// answered is what becomes of a request.
type answered struct {
	host   string
	copies []string
	// cookies that the answer sets, as browsers keep them; "" has them dropped.
	cookies map[string]string
}

// proxy carries out a VirtualService as Istio says that it is: the first rule that matches, weights as they are, a header is matched
// as a whole. It is written from Istio's reference and not from the router.
type proxy struct {
	t       *testing.T
	spec    *networking.VirtualService
	rand    *rand.Rand
	regexes map[string]*regexp.Regexp
}

func newProxy(t *testing.T, spec *networking.VirtualService) proxy {
	t.Helper()
	return proxy{t, spec, rand.New(rand.NewPCG(7, 7)), map[string]*regexp.Regexp{}}
}

func (p proxy) ask(a asked) answered {
	p.t.Helper()
	for _, r := range p.spec.Http {
		if len(r.Match) > 0 && !slices.ContainsFunc(r.Match, func(m *networking.HTTPMatchRequest) bool { return p.matches(m, a) }) {
			continue
		}
		to := p.draw(r.Route)
		out := answered{host: to.Destination.Host, cookies: map[string]string{}}
		for _, m := range r.Mirrors {
			if p.rand.Float64()*100 < m.Percentage.GetValue() {
				out.copies = append(out.copies, m.Destination.Host)
			}
		}
		for _, headers := range []*networking.Headers{r.Headers, to.Headers} {
			if set := headers.GetResponse().GetAdd()["Set-Cookie"]; set != "" {
				pair, attributes, _ := strings.Cut(set, ";")
				name, value, _ := strings.Cut(pair, "=")
				if strings.Contains(attributes, "Max-Age=0;") {
					value = ""
				}
				out.cookies[name] = value
			}
		}
		return out
	}
	return answered{host: "404"}
}

func (p proxy) draw(route []*networking.HTTPRouteDestination) *networking.HTTPRouteDestination {
	if len(route) == 1 {
		return route[0]
	}
	total := int32(0)
	for _, to := range route {
		total += to.Weight
	}
	at := p.rand.Int32N(total)
	for _, to := range route {
		if at -= to.Weight; at < 0 {
			return to
		}
	}
	return nil
}

func (p proxy) matches(m *networking.HTTPMatchRequest, a asked) bool {
	path, uri := a.path, m.Uri
	if m.IgnoreUriCase && uri.GetRegex() == "" {
		path = strings.ToLower(path)
	}
	all := p.takes(uri, path, true, m.IgnoreUriCase) && p.takes(m.Method, a.method, true, false) && p.takes(m.Authority, a.host, true, false) &&
		(m.Port == 0 || m.Port == a.port) && (len(m.Gateways) == 0 || slices.Contains(m.Gateways, a.gateway))
	for name, v := range m.Headers {
		have, ok := a.headers[name]
		all = all && p.takes(v, have, ok, false)
	}
	for name, v := range m.QueryParams {
		have, ok := a.query[name]
		all = all && p.takes(v, have, ok, false)
	}
	for name, v := range m.WithoutHeaders {
		have, ok := a.headers[name]
		all = all && !p.takes(v, have, ok, false)
	}
	for name, v := range m.SourceLabels {
		all = all && a.labels[name] == v
	}
	return all
}

func (p proxy) takes(m *networking.StringMatch, s string, there, lower bool) bool {
	fold := func(s string) string {
		if lower {
			return strings.ToLower(s)
		}
		return s
	}
	switch v := m.GetMatchType().(type) {
	case nil:
		return m == nil || there
	case *networking.StringMatch_Exact:
		return there && s == fold(v.Exact)
	case *networking.StringMatch_Prefix:
		return there && strings.HasPrefix(s, fold(v.Prefix))
	case *networking.StringMatch_Regex:
		re, ok := p.regexes[v.Regex]
		if !ok {
			re = regexp.MustCompile("^(?:" + v.Regex + ")$")
			p.regexes[v.Regex] = re
		}
		return there && re.MatchString(s)
	}
	return false
}

// browser is a user who keeps cookies.
type browser map[string]string

func (b browser) header() map[string]string {
	if len(b) == 0 {
		return nil
	}
	var all []string
	for name, value := range b {
		all = append(all, name+"="+value)
	}
	slices.Sort(all)
	return map[string]string{"cookie": strings.Join(all, "; ")}
}

func (b browser) ask(p proxy, path string) answered {
	out := p.ask(asked{path: path, method: "GET", headers: b.header()})
	for name, value := range out.cookies {
		if value == "" {
			delete(b, name)
			continue
		}
		b[name] = value
	}
	return out
}
