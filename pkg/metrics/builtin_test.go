package metrics_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/siskin-dev/siskin/pkg/metrics"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestBuiltinQueriesAreAsReviewed(t *testing.T) {
	subject := metrics.Subject{Namespace: "test", Service: "web-canary", Workload: "podinfo-canary"}
	for _, kind := range meter.Kinds() {
		for _, name := range []string{metrics.RequestSuccessRate, metrics.RequestDuration} {
			t.Run(string(kind)+"/"+name, func(t *testing.T) {
				got, err := metrics.Builtin(name, kind, subject, 90*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				file := filepath.Join("testdata", string(kind)+"-"+name+".promql")
				if *update {
					if err := os.WriteFile(file, []byte(got+"\n"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got+"\n"); diff != "" {
					t.Error(diff)
				}
				if strings.Count(got, "(") != strings.Count(got, ")") {
					t.Error("unbalanced parentheses")
				}
			})
		}
	}
}

func TestAnUnknownBuiltinIsATemplateError(t *testing.T) {
	for _, c := range [][2]string{{"error-rate", ""}, {metrics.RequestDuration, "nginx"}} {
		if _, err := metrics.Builtin(c[0], meter.Kind(c[1]), metrics.Subject{}, time.Minute); err == nil {
			t.Errorf("%v: no error", c)
		} else if _, ok := errors.AsType[*metrics.TemplateError](err); !ok {
			t.Errorf("%v: %v", c, err)
		}
	}
}

// podRegex takes the pattern of the pods out of a query.
func podRegex(t *testing.T, kind, workload string) *regexp.Regexp {
	t.Helper()
	q, err := metrics.Builtin(metrics.RequestDuration, meter.App, metrics.Subject{Namespace: "test", Kind: kind, Workload: workload}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(q, `pod=~"`)
	pattern, _, _ := strings.Cut(rest, `"`)
	return regexp.MustCompile("^(?:" + strings.ReplaceAll(pattern, `\\`, `\`) + ")$")
}

func TestPodsAreToldApart(t *testing.T) {
	long47, long56 := strings.Repeat("x", 40), strings.Repeat("y", 56)
	for name, c := range map[string]struct {
		workload, pod string
		want          bool
	}{
		"a canary's pod":                        {"podinfo-canary", "podinfo-canary-7d9c5b8f6d-x2x4z", true},
		"the primary's pod":                     {"podinfo-canary", "podinfo-primary-7d9c5b8f6d-x2x4z", false},
		"the target's pod":                      {"podinfo-canary", "podinfo-7d9c5b8f6d-x2x4z", false},
		"another app whose name begins alike":   {"podinfo-canary", "podinfo-canary-b-7d9c5b8f6d-x2x4z", false},
		"a dot is a dot":                        {"a.b-canary", "axb-canary-7d9c5b8f6d-x2x4z", false},
		"a name with a dot":                     {"a.b-canary", "a.b-canary-7d9c5b8f6d-x2x4z", true},
		"a long name, cut by Kubernetes":        {long47 + "-canary", (long47 + "-canary-7d9c5b8f6d-")[:58] + "x2x4z", true},
		"the longest name, cut within the role": {long56 + "-canary", (long56 + "-canary-7d9c5b8f6d-")[:58] + "x2x4z", true},
		"its primary":                           {long56 + "-canary", (long56 + "-primary-7d9c5b8f6d-")[:58] + "x2x4z", false},
	} {
		t.Run(name, func(t *testing.T) {
			if re := podRegex(t, "Deployment", c.workload); re.MatchString(c.pod) != c.want {
				t.Errorf("%s on %s: want %v", re, c.pod, c.want)
			}
		})
	}
}

// W18: a pattern for the pods of Deployments matches those of a DaemonSet's primary, and not its canary's.
func TestPodsOfOtherKindsAreToldApart(t *testing.T) {
	long := strings.Repeat("y", 56)
	for name, c := range map[string]struct {
		kind, workload, pod string
		want                bool
	}{
		"a DaemonSet's canary":           {"DaemonSet", "web-canary", "web-canary-x2x4z", true},
		"a DaemonSet's primary":          {"DaemonSet", "web-canary", "web-primary-x2x4z", false},
		"a DaemonSet's target":           {"DaemonSet", "web-canary", "web-x2x4z", false},
		"a Deployment of the name":       {"DaemonSet", "web-canary", "web-canary-7d9c5b8f6d-x2x4z", false},
		"a long name, cut by Kubernetes": {"DaemonSet", long + "-canary", (long + "-canary-")[:58] + "x2x4z", true},
		"a StatefulSet's canary":         {"StatefulSet", "web-canary", "web-canary-12", true},
		"a StatefulSet's primary":        {"StatefulSet", "web-canary", "web-primary-12", false},
		"a DaemonSet of the name":        {"StatefulSet", "web-canary", "web-canary-x2x4z", false},
	} {
		t.Run(name, func(t *testing.T) {
			if re := podRegex(t, c.kind, c.workload); re.MatchString(c.pod) != c.want {
				t.Errorf("%s on %s: want %v", re, c.pod, c.want)
			}
		})
	}
}

func TestPodsOfAServiceAreNotGuessed(t *testing.T) {
	subject := metrics.Subject{Namespace: "test", Kind: "Service", Service: "web-canary", Workload: "web-canary"}
	if _, err := metrics.Builtin(metrics.RequestDuration, meter.App, subject, time.Minute); err == nil || !strings.Contains(err.Error(), "templateRef") {
		t.Errorf("error %v", err)
	}
	for kind, want := range map[meter.Kind]string{
		meter.Traefik: "test-web-canary-[0-9]+", meter.Istio: `destination_service_name="web-canary"`,
	} {
		if q, err := metrics.Builtin(metrics.RequestSuccessRate, kind, subject, time.Minute); err != nil || !strings.Contains(q, want) || strings.Contains(q, "workload") {
			t.Errorf("%s: %v, %s", kind, err, q)
		}
	}
}

// The names are built as Traefik 3.7.9 builds them (pkg/provider/kubernetes/gateway/httproute.go, loadHTTPRoutes and
// loadHTTPService).
func TestTraefiksServicesAreToldApart(t *testing.T) {
	q, err := metrics.Builtin(metrics.RequestSuccessRate, meter.Traefik, metrics.Subject{Namespace: "test", Service: "web-canary"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(q, `service=~"`)
	pattern, _, _ := strings.Cut(rest, `"`)
	re := regexp.MustCompile("^(?:" + strings.ReplaceAll(pattern, `\\`, `\`) + ")$")
	for label, want := range map[string]bool{
		"httproute-test-web-gw-default-gateway-ep-web-0-svc-test-web-canary-1@kubernetesgateway":   true,
		"grpcroute-test-web-gw-default-gateway-ep-web-0-svc-test-web-canary-1@kubernetesgateway":   true,
		"httproute-test-web-gw-default-gateway-ep-web-0-svc-test-web-primary-0@kubernetesgateway":  false,
		"httproute-other-web-gw-default-gateway-ep-web-0-svc-other-web-canary-1@kubernetesgateway": false,
		"httproute-test-web-gw-default-gateway-ep-web-0-svc-test-myweb-canary-1@kubernetesgateway": false,
		"httproute-test-web-gw-default-gateway-ep-web-0-svc-test-web-canary-x-1@kubernetesgateway": false,
		"httproute-test-web-gw-default-gateway-ep-web-0-wrr@kubernetesgateway":                     false,
	} {
		if re.MatchString(label) != want {
			t.Errorf("%s: want %v", label, want)
		}
	}
}
