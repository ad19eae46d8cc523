package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
)

// bare is a Canary whose target does not exist: Siskin does nothing with it but tell so.
const bare = `apiVersion: siskin.dev/v1
kind: Canary
metadata:
  name: finch
spec:
  targetRef: {kind: Deployment, name: finch}
  provider: kubernetes
  service: {port: 80}
  analysis: {iterations: 1, interval: 10s, threshold: 1}
`

// as acts as somebody who may do everything.
func as(t *testing.T, e *fixtures.Env, user string) client.Client {
	t.Helper()
	cfg := e.Config()
	cfg.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters"}}
	c, err := client.New(cfg, client.Options{Scheme: e.API.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// annotated writes annotations of Canary finch as a person does; nil takes one away.
func annotated(t *testing.T, c client.Client, namespace string, annotations map[string]any) map[string]string {
	t.Helper()
	var pairs []string
	for k, v := range annotations {
		text := "null"
		if v != nil {
			text = fmt.Sprintf("%q", v)
		}
		pairs = append(pairs, fmt.Sprintf("%q:%s", k, text))
	}
	canary := &siskinv1.Canary{}
	canary.Name, canary.Namespace = "finch", namespace
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{`+strings.Join(pairs, ",")+`}}}`))
	if err := c.Patch(t.Context(), canary, patch); err != nil {
		t.Fatal(err)
	}
	return canary.Annotations
}

// TestPolicyStampsRequests : who asked is who wrote the request, whatever they or others write.
func TestPolicyStampsRequests(t *testing.T) {
	e := given(t)
	ns := e.Namespace(t)
	if err := e.StampRequests(t.Context()); err != nil {
		t.Fatal(err)
	}
	ann, bob := as(t, e, "ann"), as(t, e, "bob")
	const request, by = siskinv1.RequestAnnotation, siskinv1.RequestedByAnnotation
	u := unstructuredIn(parsed(t, bare), ns)
	u.SetAnnotations(map[string]string{by: "the-boss"})
	if err := ann.Create(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if got := u.GetAnnotations()[by]; got != "" {
		t.Errorf("nobody asked for anything, and %q is stamped", got)
	}
	for _, step := range []struct {
		what  string
		who   client.Client
		write map[string]any
		want  string
	}{
		{"a request", ann, map[string]any{request: "abort@1"}, "ann"},
		{"the same request", bob, map[string]any{request: "abort@1"}, "ann"},
		{"another annotation", bob, map[string]any{"example.org/x": "y"}, "ann"},
		{"a forged stamp on a request of another", bob, map[string]any{by: "bob"}, "ann"},
		{"a stamp taken away", bob, map[string]any{by: nil}, "ann"},
		{"a new request", bob, map[string]any{request: "abort@2"}, "bob"},
		{"a new request under another's name", ann, map[string]any{request: "promote@3", by: "bob"}, "ann"},
		{"the request taken away", bob, map[string]any{request: nil}, ""},
		{"a stamp without a request", bob, map[string]any{by: "ann"}, ""},
		{"a request after none", bob, map[string]any{request: "promote@4"}, "bob"},
	} {
		if got := annotated(t, step.who, ns, step.write)[by]; got != step.want {
			t.Errorf("%s: by %q, want %q", step.what, got, step.want)
		}
	}
	// Siskin's own writes: status, and the finalizer.
	cluster.Eventually(t, 20*time.Second, func(ctx context.Context) error {
		c, err := e.Canary(ctx, ns, "finch")
		if err != nil {
			return err
		}
		if c.Annotations[by] != "bob" {
			t.Fatalf("Siskin's writes made it %q", c.Annotations[by])
		}
		if r := c.Status.Request; r == nil || r.Value != "promote@4" || r.By != "bob" {
			return fmt.Errorf("status tells %+v", c.Status.Request)
		}
		return nil
	})
	// A GitOps tool whose manifest says who asked is overruled, and nothing changes however often it applies.
	forged := strings.Replace(bare, "  name: finch\n", "  name: finch\n  annotations: {siskin.dev/requested-by: the-boss}\n", 1)
	apply(t, e, ns, "git", forged)
	first, err := e.Canary(t.Context(), ns, "finch")
	if err != nil {
		t.Fatal(err)
	}
	apply(t, e, ns, "git", forged)
	again, err := e.Canary(t.Context(), ns, "finch")
	if err != nil {
		t.Fatal(err)
	}
	if again.Annotations[by] != "bob" || again.Annotations[request] != "promote@4" || again.Generation != first.Generation {
		t.Errorf("applied: %v, generation %d → %d", again.Annotations, first.Generation, again.Generation)
	}
}

// TestPolicyRefusesNonsense : the API server refuses what plan.ParseRequest cannot read, and nothing else; its words help.
func TestPolicyRefusesNonsense(t *testing.T) {
	e := given(t)
	ns := e.Namespace(t)
	if err := e.StampRequests(t.Context()); err != nil {
		t.Fatal(err)
	}
	apply(t, e, ns, "git", bare)
	for value, want := range map[string]string{
		"promote": "", "abort@1": "", "retry@x y": "", " pause@1": "", "resume @1": "", "rollback": "", "rollback@": "", "rollback@1@2": "",
		"rollback/finch-123": "", "abort/finch-123@1": "", "rollback/finch-123@1": "", "abort@a/b": "",
		"aborted@1":                         `"aborted" is no request: write promote, abort,`,
		"Abort@1":                           `"Abort" is no request`,
		"@1":                                `"" is no request`,
		"/x":                                `"" is no request`,
		"pause/finch-123@1":                 "pause takes no revision: write pause@<token>",
		"promote/":                          "the revision is missing: write promote/<revision>@<token>, or promote@<token>",
		"rollback/@1":                       "the revision is missing: write rollback/<revision>@<token>",
		"rollback /finch-123":               `"rollback " is no request`,
		strings.Repeat("ä", 300):            `is no request`,
		"abort@" + strings.Repeat("x", 600): "longer than 512",
	} {
		c := &siskinv1.Canary{}
		c.Name, c.Namespace = "finch", ns
		patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, siskinv1.RequestAnnotation, value)
		err := e.API.Patch(t.Context(), c, client.RawPatch("application/merge-patch+json", []byte(patch)), client.DryRunAll)
		_, _, parse := plan.ParseRequest(strings.TrimSpace(value))
		if (err == nil) != (want == "") || (parse == nil) != (want == "") && len(value) < 512 {
			t.Errorf("%.40q: the API server says %v, Siskin says %v", value, err, parse)
		}
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: refused by %v, want %q", value, err, want)
		}
	}
	// As people see it.
	out, err := e.Kubectl(t.Context(), "-n", ns, "annotate", "canary", "finch", siskinv1.RequestAnnotation+"=stop")
	if err == nil || !strings.Contains(out, "with @ and a new token each time, for example abort@1") {
		t.Errorf("kubectl annotate says %s (%v)", out, err)
	}
	t.Logf("kubectl annotate: %s", out)
	out, err = e.Kubectl(t.Context(), "-n", ns, "annotate", "canary", "finch", siskinv1.RequestAnnotation+"=abort")
	if err != nil || !strings.Contains(out, "has no token") {
		t.Errorf("kubectl annotate without a token says %s (%v)", out, err)
	}
	t.Logf("kubectl annotate: %s", out)
	if out, err = e.Kubectl(t.Context(), "-n", ns, "annotate", "--overwrite", "canary", "finch", siskinv1.RequestAnnotation+"=abort@1"); err != nil || strings.Contains(out, "Warning") {
		t.Errorf("kubectl annotate says %s (%v)", out, err)
	}
}
