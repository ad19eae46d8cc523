package build

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/siskin-dev/siskin/pkg/gitsync/tree"
)

const (
	deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: podinfo\n  creationTimestamp: null\nspec:\n  replicas: 2\nstatus: {}\n"
	service    = "apiVersion: v1\nkind: Service\nmetadata:\n  name: podinfo\n  namespace: prod\n"
	namespace  = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: prod\n"
)

func configMap(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\n"
}

func ids(t *testing.T, repo tree.Tree, o Options) []string {
	t.Helper()
	objs, err := new(Builder).Build(t.Context(), repo, o)
	if err != nil {
		t.Fatalf("Build: %v", err)
	}
	var out []string
	for _, o := range objs {
		out = append(out, o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName())
	}
	slices.Sort(out)
	return out
}

func TestBuild(t *testing.T) {
	link := func(files map[string]string, name, target string) tree.Tree {
		entries := map[string]tree.Entry{name: {Link: target}}
		for n, c := range files {
			entries[n] = tree.Entry{Read: func() ([]byte, error) { return []byte(c), nil }}
		}
		return tree.New(entries)
	}
	for name, c := range map[string]struct {
		repo tree.Tree
		o    Options
		want []string
	}{
		"plain manifests at the root": {
			tree.FromFiles(map[string]string{"d.yaml": deployment, "README.md": "#", "x/s.yml": service, ".github/ci.yaml": "on: push"}),
			Options{Path: "./"},
			[]string{"Deployment /podinfo", "Service prod/podinfo"},
		},
		"many documents in one file": {
			tree.FromFiles(map[string]string{"all.yaml": "---\n" + deployment + "---\n# nothing\n---\n" + service}),
			Options{Path: "."},
			[]string{"Deployment /podinfo", "Service prod/podinfo"},
		},
		"a kustomization below a plain directory stands for its files": {
			tree.FromFiles(map[string]string{
				"a.yaml": deployment, "k/kustomization.yaml": "resources: [s.yaml]\nnamePrefix: my-\n", "k/s.yaml": service, "k/unused.yaml": namespace,
			}),
			Options{Path: ""},
			[]string{"Deployment /podinfo", "Service prod/my-podinfo"},
		},
		"an overlay with a base and a component beside it": {
			tree.FromFiles(map[string]string{
				"apps/base/kustomization.yaml":  "resources: [d.yaml]\n",
				"apps/base/d.yaml":              deployment,
				"apps/prod/kustomization.yaml":  "resources: [../base]\ncomponents: [../../parts/svc]\nnamespace: prod\nimages: [{name: x, newTag: v1}]\n",
				"parts/svc/kustomization.yml":   "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [s.yaml]\n",
				"parts/svc/s.yaml":              service,
				"apps/other/kustomization.yaml": "resources: [broken]\n",
			}),
			Options{Path: "apps/prod/"},
			[]string{"Deployment prod/podinfo", "Service prod/podinfo"},
		},
		"files of other directories": {
			tree.FromFiles(map[string]string{
				"prod/kustomization.yaml": "resources: [../shared/s.yaml]\nconfigMapGenerator: [{name: c, files: [../shared/c.txt], literals: ['U=https://x.example']}]\ngeneratorOptions: {disableNameSuffixHash: true}\n",
				"shared/s.yaml":           service, "shared/c.txt": "https://x.example",
			}),
			Options{Path: "prod"},
			[]string{"ConfigMap /c", "Service prod/podinfo"},
		},
		"targetNamespace overrides": {
			tree.FromFiles(map[string]string{"d.yaml": deployment, "s.yaml": service, "n.yaml": "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: r}\n"}),
			Options{Path: "./", TargetNamespace: "stage"},
			[]string{"ClusterRole /r", "Deployment stage/podinfo", "Service stage/podinfo"},
		},
		"targetNamespace with a kustomization": {
			tree.FromFiles(map[string]string{"a/kustomization.yaml": "resources: [s.yaml]\n", "a/s.yaml": service}),
			Options{Path: "a", TargetNamespace: "stage"},
			[]string{"Service stage/podinfo"},
		},
		"links inside the repository are followed": {
			link(map[string]string{"real/s.yaml": service}, "apps", "real"),
			Options{Path: "apps"},
			[]string{"Service prod/podinfo"},
		},
		"a List is taken apart": {
			tree.FromFiles(map[string]string{"l.yaml": "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n"}),
			Options{Path: "."},
			[]string{"ConfigMap /a", "ConfigMap /b"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, ids(t, c.repo, c.o)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestObjectsAreCleaned(t *testing.T) {
	objs, err := new(Builder).Build(t.Context(), tree.FromFiles(map[string]string{
		"d.yaml": deployment,
		"s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s, uid: x, resourceVersion: '1'}\ndata: {a: YQ==, b: YQ==}\nstringData: {b: b}\n",
	}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{
		{
			"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "podinfo"},
			"spec": map[string]any{"replicas": int64(2)},
		},
		{
			"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "s"},
			"data": map[string]any{"a": "YQ==", "b": "Yg=="},
		},
	}
	for i, o := range objs {
		// a deep copy panics on the Go types that Kubernetes objects must not hold
		if diff := cmp.Diff(want[i], o.DeepCopy().Object); diff != "" {
			t.Error(diff)
		}
	}
}

func TestBadInput(t *testing.T) {
	calls := atomic.Int32{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		_, _ = w.Write([]byte(service))
	}))
	defer srv.Close()
	kustomization := func(k string) map[string]string {
		return map[string]string{"kustomization.yaml": k, "d.yaml": deployment, "gen/kustomization.yaml": "resources: [d.yaml]", "gen/d.yaml": deployment}
	}
	for name, c := range map[string]struct {
		files map[string]string
		path  string
		file  string
		says  string
	}{
		"no manifests":                {map[string]string{"README.md": "#"}, "./", ".", "delete the GitSync"},
		"a resource that is missing":  {kustomization("resources: [nope.yaml]"), "", "kustomization.yaml", `"./nope.yaml" does not exist`},
		"a base outside":              {kustomization("resources: [../x]"), "", "kustomization.yaml", "leaves the repository"},
		"an absolute base":            {kustomization("resources: [/etc/x.yaml]"), "", "kustomization.yaml", "absolute"},
		"a remote file":               {kustomization("resources: [" + srv.URL + "/s.yaml]"), "", "kustomization.yaml", "another server"},
		"a remote base":               {kustomization("resources: ['github.com/a/b?ref=v1']"), "", "kustomization.yaml", "does not exist"},
		"a remote base by ssh":        {kustomization("bases: ['git@example.com:a/b']"), "", "kustomization.yaml", "another server"},
		"a remote component":          {kustomization("components: ['git::https://x.example/a']"), "", "kustomization.yaml", "another server"},
		"a remote patch":              {kustomization("resources: [d.yaml]\npatches: [{path: " + srv.URL + "}]"), "", "kustomization.yaml", "another server"},
		"a remote generator file":     {kustomization("configMapGenerator: [{name: a, files: [k=" + srv.URL + "]}]"), "", "kustomization.yaml", "another server"},
		"a remote schema":             {kustomization("resources: [d.yaml]\nopenapi: {path: " + srv.URL + "}"), "", "kustomization.yaml", "another server"},
		"a remote plugin in place":    {kustomization("generators:\n- |-\n  apiVersion: builtin\n  kind: ConfigMapGenerator\n  metadata: {name: x}\n  files: [" + srv.URL + "]"), "", "kustomization.yaml", "another server"},
		"a directory of plugins":      {kustomization("generators: [gen]"), "", "kustomization.yaml", "is a directory"},
		"Helm charts":                 {kustomization("helmCharts: [{name: x}]"), "", "kustomization.yaml", "not supported"},
		"broken YAML":                 {kustomization("resources: [\n"), "", "kustomization.yaml", "not valid YAML"},
		"a field that is misspelled":  {kustomization("resource: [d.yaml]"), "", "kustomization.yaml", "resource"},
		"a foreign kustomization":     {kustomization("apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization"), "", "kustomization.yaml", "has apiVersion"},
		"a broken manifest":           {map[string]string{"a/b.yaml": "kind: [x\n"}, "a", "a/b.yaml", "not valid YAML"},
		"a manifest without kind":     {map[string]string{"a/b.yaml": "apiVersion: v1\nmetadata: {name: x}\n"}, "a", "a/b.yaml", "without kind"},
		"values of a chart":           {map[string]string{"a/values.yaml": "image: x\n"}, "a", "a/values.yaml", "not a Kubernetes object"},
		"generateName":                {map[string]string{"a.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {generateName: x-}\n"}, "", "", "name"},
		"an object twice":             {map[string]string{"a.yaml": service, "b.yaml": service}, "", "", "podinfo"},
		"stringData that is no text":  {map[string]string{"a.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {port: 1}\n"}, "", "", "quote numbers"},
		"everything is local-config":  {map[string]string{"a.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: x, annotations: {config.kubernetes.io/local-config: 'true'}}\n"}, "", "", "no objects"},
		"a base that includes itself": {map[string]string{"a/kustomization.yaml": "resources: [../b]", "b/kustomization.yaml": "resources: [../a]"}, "a", "", "cycle"},
		"a transformer that is missing": {
			kustomization("resources: [d.yaml]\ntransformers: [t.yaml]"), "", "kustomization.yaml", "does not exist",
		},
	} {
		t.Run(name, func(t *testing.T) {
			objs, err := new(Builder).Build(t.Context(), tree.FromFiles(c.files), Options{Path: c.path})
			buildErr, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("Build = %d objects, %T: %v, want *Error", len(objs), err, err)
			}
			if c.file != "" && buildErr.File != c.file {
				t.Errorf("File = %q, want %q (%v)", buildErr.File, c.file, err)
			}
			if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), repoDir+"/") {
				t.Errorf("error = %q, want one line with %q", err, c.says)
			}
		})
	}
	if n := calls.Load(); n > 0 {
		t.Errorf("kustomize asked another server %d times", n)
	}
}

func TestProgramsAndContainersAreNotRun(t *testing.T) {
	for name, plugin := range map[string]string{
		"a container":    "apiVersion: x/v1\nkind: X\nmetadata: {name: x, annotations: {config.kubernetes.io/function: 'container: {image: x}'}}\n",
		"a program":      "apiVersion: x/v1\nkind: X\nmetadata: {name: x, annotations: {config.kubernetes.io/function: 'exec: {path: /bin/true}'}}\n",
		"an exec plugin": "apiVersion: someteam.example.com/v1\nkind: X\nmetadata: {name: x}\n",
		"a remote file":  "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: x}\npath: http://127.0.0.1:1/\n",
	} {
		t.Run(name, func(t *testing.T) {
			repo := tree.FromFiles(map[string]string{"kustomization.yaml": "resources: [d.yaml]\ntransformers: [t.yaml]\n", "d.yaml": deployment, "t.yaml": plugin})
			_, err := new(Builder).Build(t.Context(), repo, Options{})
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("Build: %v, want *Error", err)
			}
			t.Log(err)
		})
	}
}

func TestMissingPath(t *testing.T) {
	repo := tree.New(map[string]tree.Entry{"link": {Link: "/etc"}, "a.yaml": {Read: func() ([]byte, error) { return []byte(service), nil }}})
	for p, says := range map[string]string{"apps/nope": "does not exist", "a.yaml": "is a file", "link": "leaves the repository", "../x": "leaves the repository"} {
		_, err := new(Builder).Build(t.Context(), repo, Options{Path: p})
		if _, ok := errors.AsType[*PathError](err); !ok || !strings.Contains(err.Error(), says) {
			t.Errorf("Build(%q): %v, want *PathError with %q", p, err, says)
		}
	}
}

func TestBuildsTakeTurns(t *testing.T) {
	b := new(Builder)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := b.Build(t.Context(), tree.FromFiles(map[string]string{"d.yaml": deployment}), Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Build(ctx, tree.FromFiles(map[string]string{"d.yaml": deployment}), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

func FuzzBuild(f *testing.F) {
	f.Add("resources: [d.yaml]", deployment)
	f.Add("resources: [https://x.example/y]", configMap("a"))
	f.Fuzz(func(t *testing.T, kustomization, manifest string) {
		objs, err := new(Builder).Build(t.Context(), tree.FromFiles(map[string]string{"kustomization.yaml": kustomization, "d.yaml": manifest}), Options{})
		if err == nil && len(objs) == 0 {
			t.Error("no objects and no error")
		}
	})
}
