package child_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/siskin-dev/siskin/pkg/gitsync/build"
	"github.com/siskin-dev/siskin/pkg/gitsync/build/child"
	"github.com/siskin-dev/siskin/pkg/gitsync/tree"
)

// This program is its own child, as siskin is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == child.Verb {
		ctx := ctrl.SetupSignalHandler()
		if addr := os.Getenv("PROBE"); addr != "" {
			child.Confine()
			probe(ctx, addr)
			os.Exit(0)
		}
		if err := child.Serve(ctx, os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program is what serves builds: this program, or one that is made for it.
var program = sync.OnceValues(func() (string, error) {
	if !underRace {
		return "", nil
	}
	dir, err := os.MkdirTemp("", "siskin-child-")
	if err != nil {
		return "", fmt.Errorf("making a folder: %w", err)
	}
	out := filepath.Join(dir, "child")
	cmd := exec.Command("go", "build", "-o", out, "./childmain")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the child: %w: %s", err, text)
	}
	return out, nil
})

func builder(t *testing.T, l child.Limits) *child.Builder {
	t.Helper()
	p, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return &child.Builder{Program: p, Limits: l}
}

// probe tries what no build may do, and says on standard error what came of it.
func probe(ctx context.Context, addr string) {
	said := func(what string, err error) { fmt.Fprintf(os.Stderr, "%s: %v\n", what, err) }
	_, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
	said("dial", err)
	_, err = (&net.ListenConfig{}).ListenPacket(ctx, "udp", "127.0.0.1:0")
	said("listen", err)
	_, err = http.Get("http://" + addr) //nolint:noctx,bodyclose // it fails
	said("get", err)
	_, err = os.ReadFile("/proc/self/status")
	said("read", err)
	_, err = os.Create("/tmp/siskin-probe")
	said("create", err)
	said("exec", exec.CommandContext(ctx, "/bin/true").Run())
}

func TestAChildReachesNothing(t *testing.T) {
	var hits atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer srv.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Without a namespace: what it shows holds where the container does not allow one.
	cmd := exec.CommandContext(t.Context(), self, child.Verb)
	cmd.Env = []string{"PROBE=" + strings.TrimPrefix(srv.URL, "http://")}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, what := range []string{"dial", "listen", "get", "read", "create", "exec"} {
		if !strings.Contains(string(out), what+": ") || strings.Contains(string(out), what+": <nil>") {
			t.Errorf("a build can %s: %s", what, out)
		}
	}
	if hits.Load() != 0 {
		t.Errorf("the server was asked %d times", hits.Load())
	}
}

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {big: \"12345678901234567890\", n: \"1\"}\n"

func TestBuild(t *testing.T) {
	repo := tree.FromFiles(map[string]string{
		"app/a.yaml": fmt.Sprintf(configMap, "a"), "app/b.yaml": fmt.Sprintf(configMap, "b"), "other/c.yaml": "not read: [",
	})
	objects, err := builder(t, child.Limits{}).Build(t.Context(), repo, build.Options{Path: "app", TargetNamespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) != 2 || objects[0].GetName() != "a" || objects[1].GetNamespace() != "shop" {
		t.Errorf("built %v", objects)
	}
}

func TestErrorsKeepTheirTypes(t *testing.T) {
	repo := tree.FromFiles(map[string]string{"app/a.yaml": "kind: ["})
	_, err := builder(t, child.Limits{}).Build(t.Context(), repo, build.Options{Path: "nowhere"})
	if _, ok := errors.AsType[*build.PathError](err); !ok || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a path that is not there: %v", err)
	}
	_, err = builder(t, child.Limits{}).Build(t.Context(), repo, build.Options{Path: "app"})
	if e, ok := errors.AsType[*build.Error](err); !ok || e.File != "app/a.yaml" {
		t.Errorf("a file that is no YAML: %v", err)
	}
}

// hostile are repositories that take too much, and what is said of them.
func hostile() map[string]struct {
	files map[string]string
	says  string
} {
	var aliases, doubling strings.Builder
	aliases.WriteString("a: &a [x,x,x,x,x,x,x,x,x,x]\n")
	for c := 'b'; c <= 'k'; c++ {
		_, _ = fmt.Fprintf(&aliases, "%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	doubling.WriteString("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [cm.yaml]\n" +
		"patches:\n- target: {kind: ConfigMap}\n  patch: |-\n")
	for i := range 40 {
		_, _ = fmt.Fprintf(&doubling, "    - {op: copy, from: /data, path: /data/k%d}\n", i)
	}
	return map[string]struct {
		files map[string]string
		says  string
	}{
		"aliases":       {map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n" + aliases.String()}, ""},
		"deep lists":    {map[string]string{"a.yaml": strings.Repeat("[", 3_000_000)}, ""},
		"copies double": {map[string]string{"cm.yaml": fmt.Sprintf(configMap, "a"), "kustomization.yaml": doubling.String()}, ""},
		"much to read": {map[string]string{
			"kustomization.yaml": "resources: [big.yaml]\n", "big.yaml": "# " + strings.Repeat("x", 70<<20),
		}, "64 MiB of files"},
	}
}

func TestWhatTakesTooMuch(t *testing.T) {
	for name, tc := range hostile() {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			b := builder(t, child.Limits{CPU: 10 * time.Second})
			_, err := b.Build(t.Context(), tree.FromFiles(tc.files), build.Options{Path: "."})
			t.Logf("after %s: %v", time.Since(began).Round(time.Millisecond), err)
			_, tooMuch := errors.AsType[*build.LimitError](err)
			_, wrong := errors.AsType[*build.Error](err)
			if !tooMuch && !wrong || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want an error that says %q", err, tc.says)
			}
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 2000 {
				t.Errorf("the error is no line: %q", err)
			}
			// The next build, which may be another tenant's, is as if nothing had been.
			if _, err := b.Build(t.Context(), tree.FromFiles(map[string]string{"a.yaml": fmt.Sprintf(configMap, "a")}), build.Options{Path: "."}); err != nil {
				t.Errorf("the next build: %v", err)
			}
		})
	}
}
