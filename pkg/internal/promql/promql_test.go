package promql

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// web is a Deployment whose pods have the target's name in a label and in a container.
func web() Target {
	return TargetOf(siskinv1.TargetRef{Kind: "Deployment", Name: "web"}, &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web", "app.kubernetes.io/name": "web", "tier": "front", "service": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web"}, {Name: "proxy"}}},
	})
}

const (
	canaryPods  = `pod=~"web-canary-[a-z0-9]+-[a-z0-9]+"`
	primaryPods = `pod=~"web-primary-[a-z0-9]+-[a-z0-9]+"`
)

func TestNarrow(t *testing.T) {
	for name, c := range map[string]struct{ reason, query, want string }{
		"a label that all versions have": {
			"Flagger's pods have another value on each version", `sum(rate(r{namespace="a",app="web-canary"}[1m]))`,
			`sum(rate(r{namespace="a",app="web",` + canaryPods + `}[1m]))`,
		},
		"the primary":            {"to compare with", `r{app="web-primary"}`, `r{app="web",` + primaryPods + `}`},
		"by an expression":       {"templates often use =~", `r{app=~"web-canary"}`, `r{app="web",` + canaryPods + `}`},
		"both by an expression":  {"it selects both", `r{app=~"web-(primary|canary)"}`, `r{app="web",pod=~"web-primary-[a-z0-9]+-[a-z0-9]+|web-canary-[a-z0-9]+-[a-z0-9]+"}`},
		"all by an expression":   {"it finds both as it is", `r{app=~"web.*"}`, ""},
		"not the primary":        {"what is left is the canary", `r{app!="web-primary"}`, `r{app!="web-primary",pod!~"web-primary-[a-z0-9]+-[a-z0-9]+"}`},
		"a long name of a label": {"as Prometheus writes it", `r{app_kubernetes_io_name="web-canary"}`, `r{app_kubernetes_io_name="web",` + canaryPods + `}`},
		"kube-state-metrics":     {"its labels have a prefix", `kube_pod_labels{label_app="web-canary"}`, `kube_pod_labels{label_app="web",` + canaryPods + `}`},
		"an older configuration": {"the labels of namespace and pod go together", `r{kubernetes_namespace="a",app="web-canary"}`, `r{kubernetes_namespace="a",app="web",kubernetes_pod_name=~"web-canary-[a-z0-9]+-[a-z0-9]+"}`},
		"told by another selector": {
			"a query has one configuration", `a{k8s_namespace_name="a"} / b{app="web-canary"}`,
			`a{k8s_namespace_name="a"} / b{app="web",k8s_pod_name=~"web-canary-[a-z0-9]+-[a-z0-9]+"}`,
		},
		"a container": {"no version has another", `c{container="web-canary"}`, `c{container="web",` + canaryPods + `}`},
		"a mesh":      {"it names workloads", `i{destination_app="web-canary"}`, `i{destination_app="web",destination_workload=~"web-canary"}`},
		"a canonical service": {
			"Istio names it by a label of the pods", `i{destination_canonical_service="web-canary"}`,
			`i{destination_canonical_service="web",destination_workload=~"web-canary"}`,
		},
		"two labels":     {"one matcher is enough", `r{app="web-canary",container="web-canary"}`, `r{app="web",container="web",` + canaryPods + `}`},
		"a workload":     {"its clone has that name", `d{deployment="web-canary",pod=~"web-canary-.+"}`, ""},
		"a Service":      {"its clone has that name", `s{service="web-canary"}`, ""},
		"another value":  {"it is no version", `r{app="web",tier="front-end"}`, ""},
		"another label":  {"pods do not have it", `r{name="web-canary"}`, ""},
		"a string":       {"it is no selector", `label_replace(r, "a", "{app=\"web-canary\"}", "b", '{app="web-canary"}')`, ""},
		"a comment":      {"it is no selector", "r # {app=\"web-canary\"}\n+ r{app='web-canary'}", "r # {app=\"web-canary\"}\n+ r{app=\"web\"," + canaryPods + "}"},
		"white space":    {"it stays", "r { app = `web-canary` , }", `r { app="web" , ` + canaryPods + `}`},
		"a quoted name":  {"of a metric, and of a label", `{"my.metric", "app"="web-canary"}`, `{"my.metric", app="web",` + canaryPods + `}`},
		"broken":         {"the server tells what is wrong", `r{app="web-canary"`, ""},
		"broken inside":  {"the server tells what is wrong", `r{app="web-canary" x}`, ""},
		"no end":         {"the server tells what is wrong", `r{app="web-canary`, ""},
		"no expression":  {"the server tells what is wrong", `r{app=~"web-canary("}`, ""},
		"not a selector": {"grouping has none", `sum by (app) (r)`, ""},
		"nothing":        {"", ``, ""},
	} {
		want := c.want
		if want == "" {
			want = c.query
		}
		if got := web().Narrow(c.query); got != want {
			t.Errorf("%s: %s\n got %s\nwant %s", name, c.reason, got, want)
		}
	}
}

func TestPodsOfOtherKinds(t *testing.T) {
	for kind, want := range map[string]string{
		"StatefulSet": `r{app="web",pod=~"web-canary-[0-9]+"}`, "DaemonSet": `r{app="web",pod=~"web-canary-[a-z0-9]{5}"}`,
	} {
		target := web()
		target.Kind = kind
		if got := target.Narrow(`r{app="web-canary"}`); got != want {
			t.Errorf("%s: %s", kind, got)
		}
	}
	unknown := TargetOf(siskinv1.TargetRef{Kind: "Service", Name: "web"}, nil)
	if got := unknown.Narrow(`r{app="web-canary"}`); got != `r{app="web-canary"}` {
		t.Errorf("the pods of a Service are not known: %s", got)
	}
}

func TestQueriesOfScalers(t *testing.T) {
	for name, c := range map[string]struct{ query, primary, canary string }{
		"a label that all pods have": {`r{app="web"}`, `r{app="web"}`, `r{app="web",` + canaryPods + `}`},
		"as in Flagger":              {`r{app="web-primary"}`, `r{app="web"}`, `r{app="web",` + canaryPods + `}`},
		"by an expression":           {`r{app=~"web|web-canary"}`, `r{app=~"web|web-canary"}`, `r{app="web",` + canaryPods + `}`},
		"pods":                       {`r{app="web", pod=~"web-.*"}`, `r{app="web", pod=~"web-primary-.*"}`, `r{app="web", pod=~"web-canary-.*",` + canaryPods + `}`},
		"a strict pattern":           {`{pod=~"web-[a-f0-9]+-.+"}`, `{pod=~"web-primary-[a-f0-9]+-.+"}`, `{pod=~"web-canary-[a-f0-9]+-.+"}`},
		"pods of a clone":            {`{pod=~"web-canary-[a-z]+"}`, `{pod=~"web-primary-[a-z]+"}`, `{pod=~"web-canary-[a-z]+"}`},
		"a workload":                 {`d{deployment="web"}`, `d{deployment="web-primary"}`, `d{deployment="web-canary"}`},
		"a workload of a mesh": {
			`i{destination_workload="web",destination_workload_namespace="web"}`,
			`i{destination_workload="web-primary",destination_workload_namespace="web"}`, `i{destination_workload="web-canary",destination_workload_namespace="web"}`,
		},
		"a container":        {`c{container="web"}`, `c{container="web"}`, `c{container="web",` + canaryPods + `}`},
		"a Service or a job": {`s{service="web",job="web"}`, `s{service="web",job="web"}`, `s{service="web",job="web"}`},
		"a route":            {`e{envoy_cluster_name="httproute/shop/web/rule/0"}`, `e{envoy_cluster_name="httproute/shop/web/rule/0"}`, `e{envoy_cluster_name="httproute/shop/web/rule/0"}`},
		"the name elsewhere": {`web + web:rate1m{app="web-api",pod=~"my-web-.*|webshop-.*|web-api-.*"}`, ``, ``},
		"another's clone":    {`r{deployment="web-canary-2"}`, ``, ``},
		"several":            {`d{deployment=~"web|web-primary"}`, `d{deployment=~"web-primary|web-primary"}`, `d{deployment=~"web-canary|web-canary"}`},
		"not the canary":     {`r{app!="web-canary"}`, ``, ``},
		"not the canary's pods": {
			`r{pod=~"web-.*",pod!~"web-canary-.*"}`, `r{pod=~"web-primary-.*",pod!~"web-canary-.*"}`, `r{pod=~"web-canary-.*",pod!~"web-primary-.*"}`,
		},
		"not the primary":      {`d{deployment!="web-primary"}`, `d{deployment!="web-canary"}`, `d{deployment!="web-primary"}`},
		"all but the target's": {`r{pod!~"web-.*"}`, ``, ``},
		"all clones in one expression": {
			`r{pod=~"web-(canary|primary)-.*"}`, `r{pod=~"web-(canary|primary)-.*",pod=~"web-primary(-.+)?"}`,
			`r{pod=~"web-(canary|primary)-.*",pod=~"web-canary(-.+)?"}`,
		},
	} {
		for what, one := range map[string]struct{ got, want string }{
			"primary": {web().OfPrimary(c.query), c.primary}, "canary": {web().OfCanary(c.query), c.canary},
		} {
			if one.want == "" {
				one.want = c.query
			}
			if one.got != one.want {
				t.Errorf("%s, %s: %s\nbecame %s\n not   %s", name, what, c.query, one.got, one.want)
			}
		}
	}
	if got := web().Unnamed(`d{deployment="web",app="web-primary"}`); got != `d{deployment="web",app="web"}` {
		t.Errorf("a query that the user gives: %s", got)
	}
}

func TestAdvice(t *testing.T) {
	shop := web()
	shop.Labels = map[string]string{"app": "shop"}
	for query, want := range map[string]string{
		`r{kubernetes_namespace="a",app="web-canary"}`: `app="web-canary" names no pod, for the label's value is "shop" on all pods: ` +
			`write app="shop",kubernetes_pod_name=~"{{ canary }}-.+"`,
		shop.Narrow(`r{namespace="a",app="shop-canary"}`): `only series with ` + canaryPods + ` were looked at, for app="shop" is on the pods of all versions: ` +
			`if yours name pods by another label than pod, write it in the query`,
		`r{app="shop"}`:        "",
		`r{app="shop-canary"}`: "", // it is narrowed
		`r{name="web-canary"}`: "", // pods have no such label: somebody else made it
	} {
		if got := shop.Advice(query); got != want {
			t.Errorf("%s: %s", query, got)
		}
	}
	if got := shop.Narrow(`r{app="shop-canary"}`); got != `r{app="shop",`+canaryPods+`}` {
		t.Errorf("Flagger's value, of a label that is not the target's name: %s", got)
	}
}

func FuzzRewrite(f *testing.F) {
	for _, seed := range []string{`r{app="web-canary"}`, `r{a='\'',b=~"x"} # }`, "{`a`=`b`,}", `{"q", a!="\u00e4"}`, `{{}}`, `{a="`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if got := Rewrite(query, func([]Matcher) Edit { return Edit{} }); got != query {
			t.Errorf("%q became %q", query, got)
		}
		// What is written is read again as it was meant.
		var first, second [][]Matcher
		same := Rewrite(query, func(s []Matcher) Edit {
			first = append(first, s)
			e := Edit{Replace: map[int]Matcher{}}
			for i, m := range s {
				e.Replace[i] = m
			}
			return e
		})
		Rewrite(same, func(s []Matcher) Edit { second = append(second, s); return Edit{} })
		if len(first) != len(second) {
			t.Fatalf("%q: %d selectors, then %d in %q", query, len(first), len(second), same)
		}
		for i := range first {
			if len(first[i]) != len(second[i]) {
				t.Fatalf("%q: %v, then %v", query, first[i], second[i])
			}
			for j := range first[i] {
				if first[i][j] != second[i][j] {
					t.Errorf("%q: %v, then %v", query, first[i][j], second[i][j])
				}
			}
		}
		web().Narrow(query)
		web().OfPrimary(query)
		web().OfCanary(query)
		if strings.Contains(web().Advice(query), "\n") {
			t.Errorf("%q: advice is more than a line", query)
		}
	})
}
