package nginx_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/nginx"
	"github.com/siskin-dev/siskin/pkg/router/nginx/nginxtest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func exact(s string) siskinv1.StringMatch { return siskinv1.StringMatch{Exact: s} }

// TestIngressesAreAsReviewed has what a rollout can ask for in testdata.
func TestIngressesAreAsReviewed(t *testing.T) {
	for name, c := range map[string]struct {
		owner func(*siskinv1.Canary)
		main  func(*netv1.Ingress)
		in    func(*router.Intent)
	}{
		"disabled": {},
		"weights":  {in: func(in *router.Intent) { in.Split = router.Split{Primary: 95, Canary: 5} }},
		"audience": {in: func(in *router.Intent) {
			in.Split, in.Audience = router.Split{Primary: 100, Audience: true}, nginxtest.Audience()[:2]
		}},
		"everything": {
			owner: func(c *siskinv1.Canary) {
				c.Spec.IngressRef.AnnotationsPrefix = "ingress.example.org"
				c.Spec.Service.Apex = &siskinv1.Metadata{
					Labels: map[string]string{"team": "birds"}, Annotations: map[string]string{"ingress.example.org/canary-weight": "7", "a": "b"},
				}
			},
			main: func(i *netv1.Ingress) {
				i.Spec.IngressClassName = nil
				i.Annotations = map[string]string{
					"kubernetes.io/ingress.class": "nginx", "ingress.example.org/affinity": "cookie", "ingress.example.org/auth-url": "http://auth",
					"nginx.ingress.kubernetes.io/other": "kept out", "cert-manager.io/cluster-issuer": "kept out too",
				}
				i.Spec.DefaultBackend = &netv1.IngressBackend{Service: &netv1.IngressServiceBackend{Name: "finch", Port: netv1.ServiceBackendPort{Name: "http"}}}
				i.Spec.Rules = append(i.Spec.Rules, netv1.IngressRule{Host: "no.paths"}, nginxtest.Rule("else.where", nginxtest.Path("/", "museum")))
			},
			in: func(in *router.Intent) {
				in.Split = router.Split{Primary: 50, Canary: 50, Audience: true}
				in.Audience = []siskinv1.RequestMatch{
					{Headers: map[string]siskinv1.StringMatch{"x-a": exact("a.b")}},
					{Headers: map[string]siskinv1.StringMatch{"X-A": {Prefix: "c"}}},
					{Headers: map[string]siskinv1.StringMatch{"x-a": {Suffix: "d"}}},
					{Headers: map[string]siskinv1.StringMatch{"x-a": {Regex: "e|f"}}},
					{Headers: map[string]siskinv1.StringMatch{"Cookie": exact("tester=always")}},
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			owner, main := nginxtest.Canary(namespace), nginxtest.UsersIngress(namespace)
			if c.owner != nil {
				c.owner(owner)
			}
			if c.main != nil {
				c.main(main)
			}
			w := newWorld(t, owner, main)
			if c.in != nil {
				c.in(&w.in)
			}
			if err := w.router.Validate(w.in); err != nil {
				t.Fatal(err)
			}
			before := w.get(t, "aviary")
			w.apply(t)
			if !equality.Semantic.DeepEqual(before, w.get(t, "aviary")) {
				t.Error("the user's Ingress was written")
			}
			golden(t, name, w.canary(t))
		})
	}
}

func golden(t *testing.T, name string, ingress *netv1.Ingress) {
	t.Helper()
	got, err := yaml.Marshal(map[string]any{"annotations": ingress.Annotations, "labels": ingress.Labels, "spec": ingress.Spec})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name+".yaml")
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

// TestAudiences : what selects requests is said by annotations or refused by its name; it is never left out.
func TestAudiences(t *testing.T) {
	header := func(name string, m siskinv1.StringMatch) siskinv1.RequestMatch {
		return siskinv1.RequestMatch{Headers: map[string]siskinv1.StringMatch{name: m}}
	}
	cookie := func(name, value string) siskinv1.RequestMatch {
		return siskinv1.RequestMatch{Cookies: map[string]siskinv1.StringMatch{name: exact(value)}}
	}
	both := header("x", exact("y"))
	both.Cookies = cookie("a", "always").Cookies
	for name, c := range map[string]struct {
		audience []siskinv1.RequestMatch
		want     string // annotations
		refused  string // field
	}{
		"exact":                    {[]siskinv1.RequestMatch{header("x", exact("insider"))}, "canary-by-header=x canary-by-header-value=insider", ""},
		"a value to be quoted":     {[]siskinv1.RequestMatch{header("x", exact("a+b"))}, `canary-by-header=x canary-by-header-pattern=^a\+b$`, ""},
		"prefix":                   {[]siskinv1.RequestMatch{header("x", siskinv1.StringMatch{Prefix: "a"})}, "canary-by-header=x canary-by-header-pattern=^a", ""},
		"regex as it is":           {[]siskinv1.RequestMatch{header("x", siskinv1.StringMatch{Regex: "a|b"})}, "canary-by-header=x canary-by-header-pattern=a|b", ""},
		"cookie":                   {[]siskinv1.RequestMatch{cookie("a", "always")}, "canary-by-cookie=a", ""},
		"Flagger's cookie":         {[]siskinv1.RequestMatch{header("x", exact("y")), header("cookie", exact("a"))}, "canary-by-header=x canary-by-header-value=y canary-by-cookie=a", ""},
		"the same cookie twice":    {[]siskinv1.RequestMatch{cookie("a", "always"), header("cookie", exact("a"))}, "canary-by-cookie=a", ""},
		"a dropped value":          {[]siskinv1.RequestMatch{header("x", exact("a b"))}, "", "spec.analysis.match[0].headers[x]"},
		"a dropped header":         {[]siskinv1.RequestMatch{header("x y", exact("a"))}, "", "spec.analysis.match[0].headers[x y]"},
		"an empty value":           {[]siskinv1.RequestMatch{header("x", exact(""))}, "", "spec.analysis.match[0].headers[x]"},
		"another value of cookies": {[]siskinv1.RequestMatch{cookie("a", "yes")}, "", "spec.analysis.match[0].cookies[a]"},
		"a regex of cookies":       {[]siskinv1.RequestMatch{header("Cookie", siskinv1.StringMatch{Regex: "a"})}, "", "spec.analysis.match[0].headers[Cookie]"},
		"no cookie's name":         {[]siskinv1.RequestMatch{header("cookie", exact("a=1; b=2"))}, "", "spec.analysis.match[0].headers[cookie]"},
		"two cookies":              {[]siskinv1.RequestMatch{cookie("a", "always"), cookie("b", "always")}, "", "spec.analysis.match[1]"},
		"two headers":              {[]siskinv1.RequestMatch{header("a", exact("b")), header("c", exact("d"))}, "", "spec.analysis.match[1]"},
		"both at once":             {[]siskinv1.RequestMatch{both}, "", "spec.analysis.match[0]"},
		"nothing":                  {[]siskinv1.RequestMatch{{Name: "all"}}, "", "spec.analysis.match[0]"},
		"what Istio selects by":    {[]siskinv1.RequestMatch{{SourceNamespace: "a"}}, "", "spec.analysis.match[0].sourceNamespace"},
		"without a header":         {[]siskinv1.RequestMatch{{WithoutHeaders: both.Headers}}, "", "spec.analysis.match[0].withoutHeaders"},
	} {
		t.Run(name, func(t *testing.T) {
			w := given(t)
			w.in.Split.Audience, w.in.Audience = true, c.audience
			err := w.router.Validate(w.in)
			if refused, ok := errors.AsType[*router.InvalidError](err); ok != (c.refused != "") || ok && refused.Field != c.refused {
				t.Fatalf("Validate: %v, want %q", err, c.refused)
			}
			if c.refused != "" {
				if _, err := w.router.Apply(t.Context(), w.in); err == nil || w.canary(t) != nil {
					t.Fatalf("what is refused was written: %v", err)
				}
				return
			}
			w.apply(t)
			if got := notes(w.canary(t)); got != "canary=true canary-weight=0 canary-weight-total=100 "+c.want {
				t.Error(got)
			}
		})
	}
}

// TestSpecsThatAreRefused : by the field, before anything is written.
func TestSpecsThatAreRefused(t *testing.T) {
	for field, edit := range map[string]func(*siskinv1.Canary){
		"spec.ingressRef":            func(c *siskinv1.Canary) { c.Spec.IngressRef = nil },
		"spec.ingressRef.kind":       func(c *siskinv1.Canary) { c.Spec.IngressRef.Kind = "Gateway" },
		"spec.service.timeout":       func(c *siskinv1.Canary) { c.Spec.Service.Timeout = "1s" },
		"spec.service.match":         func(c *siskinv1.Canary) { c.Spec.Service.Match = nginxtest.Audience()[:1] },
		"spec.service.gateways":      func(c *siskinv1.Canary) { c.Spec.Service.Gateways = []string{"a"} },
		"spec.service.trafficPolicy": func(c *siskinv1.Canary) { c.Spec.Service.TrafficPolicy = &siskinv1.TrafficPolicy{} },
	} {
		t.Run(field, func(t *testing.T) {
			w := given(t)
			edit(w.in.Owner)
			if refused, ok := errors.AsType[*router.InvalidError](w.router.Validate(w.in)); !ok || refused.Field != field {
				t.Errorf("%v", refused)
			}
		})
	}
}

// TestIngressesThatAreRefused : those that cannot have a canary beside them.
func TestIngressesThatAreRefused(t *testing.T) {
	for name, edit := range map[string]func(*netv1.Ingress){
		"a canary itself": func(i *netv1.Ingress) { i.Annotations[prefix+"canary"] = "true" },
		"TLS passthrough": func(i *netv1.Ingress) { i.Annotations[prefix+"ssl-passthrough"] = "true" },
		"no path": func(i *netv1.Ingress) {
			i.Spec.Rules = i.Spec.Rules[:1]
			i.Spec.Rules[0].HTTP.Paths = i.Spec.Rules[0].HTTP.Paths[1:]
		},
	} {
		t.Run(name, func(t *testing.T) {
			main := nginxtest.UsersIngress(namespace)
			edit(main)
			w := newWorld(t, nginxtest.Canary(namespace), main)
			_, err := w.router.Apply(t.Context(), w.in)
			if _, ok := errors.AsType[*router.InvalidError](err); !ok || w.canary(t) != nil {
				t.Errorf("not refused: %v", err)
			}
		})
		t.Run(name+", later", func(t *testing.T) { // it holds up no rollback, and is told
			w := given(t)
			w.to(t, 50)
			w.edit(t, "aviary", "git", edit)
			w.in.Split = router.Split{Primary: 100}
			_, err := w.router.Apply(t.Context(), w.in)
			if _, ok := errors.AsType[*router.InvalidError](err); !ok {
				t.Errorf("not told: %v", err)
			}
			w.settle()
			if obs := w.observe(t); obs.Evidence != router.EvidenceAccepted || *w.canary(t).Spec.IngressClassName != nginx.DisabledClass {
				t.Errorf("no way back: %+v", obs)
			}
		})
	}
}

// TestNoTraceOfTheCanaryAfterARollback : T9. At weight 0 a session cookie would lead its users to the canary still.
func TestNoTraceOfTheCanaryAfterARollback(t *testing.T) {
	w := given(t)
	w.edit(t, "aviary", "git", func(i *netv1.Ingress) { i.Annotations[prefix+"affinity"] = "cookie" })
	w.in.Split, w.in.Audience = router.Split{Primary: 70, Canary: 30, Audience: true}, nginxtest.Audience()[:2]
	w.apply(t)
	w.in.Split = router.Split{Primary: 100}
	w.apply(t)
	ingress := w.canary(t)
	if *ingress.Spec.IngressClassName != nginx.DisabledClass || notes(ingress) != "canary=true canary-weight=0 canary-weight-total=100" {
		t.Errorf("%s of class %s", notes(ingress), *ingress.Spec.IngressClassName)
	}
	for _, rule := range ingress.Spec.Rules { // nor if somebody gives it a class
		for _, path := range rule.HTTP.Paths {
			if path.Backend.Service.Name != "finch-primary" {
				t.Errorf("%s leads to %s", path.Path, path.Backend.Service.Name)
			}
		}
	}
}

// TestTheCanaryFollowsTheUsersIngress : paths, hosts, class and annotations, in the middle of a rollout.
func TestTheCanaryFollowsTheUsersIngress(t *testing.T) {
	w := given(t)
	w.to(t, 20)
	w.settle()
	if obs := w.observe(t); obs.Evidence != router.EvidenceAccepted {
		t.Fatalf("%+v", obs)
	}
	w.edit(t, "aviary", "git", func(i *netv1.Ingress) {
		i.Spec.IngressClassName = new("internal")
		i.Annotations[prefix+"upstream-hash-by"] = "$request_uri"
		delete(i.Annotations, prefix+"proxy-body-size")
		i.Spec.Rules = append(i.Spec.Rules[:1], nginxtest.Rule("new.example.org", nginxtest.Path("/a", "finch"), nginxtest.Path("/b", "finch")))
	})
	if obs := w.observe(t); obs.Evidence != router.EvidenceNone || obs.Current.Canary != 20 {
		t.Fatalf("the edit is not seen: %+v", obs)
	}
	if receipt := w.apply(t); !receipt.Changed || receipt.Foreign {
		t.Errorf("%+v", receipt)
	}
	got := w.canary(t)
	want := []netv1.IngressRule{
		nginxtest.Rule("finch.example.org", nginxtest.Path("/", "finch-canary")),
		nginxtest.Rule("new.example.org", nginxtest.Path("/a", "finch-canary"), nginxtest.Path("/b", "finch-canary")),
	}
	if diff := cmp.Diff(want, got.Spec.Rules); diff != "" {
		t.Error(diff)
	}
	if _, kept := got.Annotations[prefix+"proxy-body-size"]; kept || got.Annotations[prefix+"upstream-hash-by"] == "" || *got.Spec.IngressClassName != "internal" {
		t.Errorf("%v %s", got.Annotations, *got.Spec.IngressClassName)
	}
}

// TestWhatOthersAddIsTakenAway : annotations and backends beside Siskin's decide too who is led where.
func TestWhatOthersAddIsTakenAway(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*netv1.Ingress)
		want router.Split // what it states meanwhile
	}{
		"a header":           {func(i *netv1.Ingress) { i.Annotations[prefix+"canary-by-header"] = "x" }, router.Split{Primary: 80, Canary: 20, Audience: true}},
		"a cookie":           {func(i *netv1.Ingress) { i.Annotations[prefix+"canary-by-cookie"] = "x" }, router.Split{Primary: 80, Canary: 20, Audience: true}},
		"another total":      {func(i *netv1.Ingress) { i.Annotations[prefix+"canary-weight-total"] = "1000" }, router.Split{Primary: 98, Canary: 2}},
		"a weight too large": {func(i *netv1.Ingress) { i.Annotations[prefix+"canary-weight"] = "300" }, router.Split{Canary: 100}},
		"no number":          {func(i *netv1.Ingress) { i.Annotations[prefix+"canary-weight"] = "x" }, router.Split{Primary: 100}},
		"no canary":          {func(i *netv1.Ingress) { delete(i.Annotations, prefix+"canary") }, router.Split{Canary: 100}},
		"a default backend":  {func(i *netv1.Ingress) { i.Spec.DefaultBackend = new(nginxtest.Path("/", "museum").Backend) }, router.Split{Primary: 80, Canary: 20}},
		"another class":      {func(i *netv1.Ingress) { i.Spec.IngressClassName = new("other") }, router.Split{Primary: 80, Canary: 20}},
		"disabled":           {func(i *netv1.Ingress) { i.Spec.IngressClassName = new(nginx.DisabledClass) }, router.Split{Primary: 100}},
		"the old class":      {func(i *netv1.Ingress) { i.Annotations["kubernetes.io/ingress.class"] = "x" }, router.Split{Primary: 80, Canary: 20}},
		"a path":             {func(i *netv1.Ingress) { i.Spec.Rules[0].HTTP.Paths[0].Path = "/x" }, router.Split{Primary: 80, Canary: 20}},
		"the canary's Service": {func(i *netv1.Ingress) {
			for _, r := range i.Spec.Rules {
				r.HTTP.Paths[0].Backend.Service.Name = "museum"
			}
		}, router.Split{Primary: 100}},
	} {
		t.Run(name, func(t *testing.T) {
			w := given(t)
			w.to(t, 20)
			before := w.canary(t)
			w.edit(t, "finch-canary", "somebody", c.edit)
			if obs := w.observe(t); obs.Evidence != router.EvidenceNone || obs.Current != c.want {
				t.Errorf("not seen: %+v", obs)
			}
			if receipt := w.apply(t); !receipt.Changed || !receipt.Foreign || receipt.By != "somebody" && name != "no canary" { // whoever takes away is not kept
				t.Errorf("%+v", receipt)
			}
			if after := w.canary(t); !equality.Semantic.DeepEqual(before.Spec, after.Spec) || !equality.Semantic.DeepEqual(before.Annotations, after.Annotations) {
				t.Errorf("it is still there: %v", cmp.Diff(before, after))
			}
		})
	}
}

// TestTheUsersIngressGoes : nobody is led anywhere then, which holds up no rollback; and nothing else is confirmed.
func TestTheUsersIngressGoes(t *testing.T) {
	w := given(t)
	w.to(t, 20)
	w.settle()
	if err := w.c.Delete(t.Context(), w.get(t, "aviary")); err != nil {
		t.Fatal(err)
	}
	if obs := w.observe(t); obs.Evidence != router.EvidenceNone || obs.Reason != nginx.ReasonIngressMissing {
		t.Errorf("%+v", obs)
	}
	w.in.Split = router.Split{Primary: 70, Canary: 30}
	if _, err := w.router.Apply(t.Context(), w.in); !errors.Is(err, router.ErrNotFound) {
		t.Errorf("%v", err)
	}
	w.to(t, 0)
	w.settle()
	if obs := w.observe(t); obs.Evidence != router.EvidenceAccepted || obs.Current != (router.Split{Primary: 100}) {
		t.Errorf("%+v", obs)
	}
	if err := w.c.Create(t.Context(), nginxtest.UsersIngress(namespace)); err != nil {
		t.Fatal(err)
	}
	w.to(t, 30)
	if got := w.canary(t); *got.Spec.IngressClassName != nginxtest.Class || len(got.Spec.Rules) != 2 {
		t.Errorf("%+v", got.Spec)
	}
}

// TestTwoCanariesOfOnePath : ingress controllers take the older one, and the other gets nothing.
func TestTwoCanariesOfOnePath(t *testing.T) {
	rival := func(edit func(*netv1.Ingress)) *netv1.Ingress {
		out := &netv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "their-canary", Annotations: map[string]string{prefix + "canary": "true"}}}
		out.Spec.IngressClassName = new(nginxtest.Class)
		out.Spec.Rules = []netv1.IngressRule{nginxtest.Rule("Finches.example.org", nginxtest.Path("/song", "theirs"))}
		edit(out)
		return out
	}
	for name, c := range map[string]struct {
		edit  func(*netv1.Ingress)
		rival bool
	}{
		"older":         {func(*netv1.Ingress) {}, true},
		"younger":       {func(i *netv1.Ingress) { i.CreationTimestamp = metav1.Now() }, false},
		"no canary":     {func(i *netv1.Ingress) { i.Annotations[prefix+"canary"] = "false" }, false},
		"another class": {func(i *netv1.Ingress) { i.Spec.IngressClassName = new("other") }, false},
		"another host":  {func(i *netv1.Ingress) { i.Spec.Rules[0].Host = "x.example.org" }, false},
		"another path":  {func(i *netv1.Ingress) { i.Spec.Rules[0].HTTP.Paths[0].Path = "/songs" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nginxtest.Canary(namespace), nginxtest.UsersIngress(namespace), rival(c.edit))
			w.to(t, 20)
			w.settle()
			obs := w.observe(t)
			if c.rival != (obs.Rejected && obs.Evidence == router.EvidenceWritten && strings.Contains(obs.Message, "their-canary")) {
				t.Errorf("%+v", obs)
			}
			w.to(t, 0)
			w.settle()
			if obs := w.observe(t); obs.Rejected || obs.Evidence != router.EvidenceAccepted {
				t.Errorf("a rollback waits for it: %+v", obs)
			}
		})
	}
}

// TestAnIngressOfTheCanarysName : somebody else's is never written.
func TestAnIngressOfTheCanarysName(t *testing.T) {
	theirs := nginxtest.UsersIngress(namespace)
	theirs.Name = "finch-canary"
	w := newWorld(t, nginxtest.Canary(namespace), nginxtest.UsersIngress(namespace), theirs)
	before := w.canary(t)
	_, err := w.router.Apply(t.Context(), w.in)
	if refused, ok := errors.AsType[*router.InvalidError](err); !ok || refused.Field != "spec.service.name" {
		t.Errorf("%v", err)
	}
	if obs := w.observe(t); obs.Known || obs.Evidence != router.EvidenceNone || obs.Reason != nginx.ReasonForeignRoute {
		t.Errorf("%+v", obs)
	}
	if err := w.router.Release(t.Context(), w.in); err != nil || !equality.Semantic.DeepEqual(before, w.canary(t)) {
		t.Errorf("it was written: %v", err)
	}
}

// TestTwoAppsOfOneIngress : each has its canary Ingress, for its own paths.
func TestTwoAppsOfOneIngress(t *testing.T) {
	w := given(t)
	w.to(t, 20)
	other := nginxtest.Canary(namespace)
	other.Name, other.UID, other.Spec.TargetRef.Name = "museum", "c0ffee00-0000-4000-8000-000000000002", "museum"
	w.in = router.Intent{Owner: other, Apex: "museum", Primary: "museum-primary", Canary: "museum-canary", Port: 80}
	w.to(t, 70)
	mine, theirs := w.canary(t), w.get(t, "museum-canary")
	want := []netv1.IngressRule{nginxtest.Rule("finch.example.org", nginxtest.Path("/museum", "museum-canary"))}
	if diff := cmp.Diff(want, theirs.Spec.Rules); diff != "" || len(mine.Spec.Rules) != 2 || mine.Annotations[prefix+"canary-weight"] != "20" {
		t.Error(diff)
	}
	w.settle()
	if obs := w.observe(t); obs.Evidence != router.EvidenceAccepted {
		t.Errorf("%+v", obs)
	}
}

// TestWhoIsWokenByAnIngress : the Canaries that name it.
func TestWhoIsWokenByAnIngress(t *testing.T) {
	reg := nginx.Registration()
	if got := reg.Watches[0].Of(nginxtest.Canary(namespace)); !slices.Contains(got, types.NamespacedName{Namespace: namespace, Name: "aviary"}) {
		t.Error(got)
	}
	none := nginxtest.Canary(namespace)
	none.Spec.IngressRef = nil
	if got := reg.Watches[0].Of(none); len(got) != 0 {
		t.Error(got)
	}
}
