package child_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/siskin-dev/siskin/pkg/gitsync/build"
	"github.com/siskin-dev/siskin/pkg/gitsync/build/child"
	"github.com/siskin-dev/siskin/pkg/gitsync/tree"
)

// remotes are ways to say that something lies on the server at addr, each a repository.
func remotes(addr string) map[string]map[string]string {
	one := func(text string) map[string]string {
		return map[string]string{"kustomization.yaml": strings.ReplaceAll(text, "ADDR", addr), "cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"}
	}
	out := map[string]map[string]string{}
	for _, field := range []string{
		"resources", "bases", "components", "crds", "configurations", "patchesStrategicMerge", "generators", "transformers", "validators",
	} {
		for name, url := range map[string]string{
			"http": "http://ADDR/x.yaml", "upper": "HTTP://ADDR/x.yaml", "mixed": "hTTp://ADDR/x.yaml", "https": "https://ADDR/x",
			"git": "git::http://ADDR/x", "git in the name": "http://ADDR/x.git//base?ref=main", "ssh": "git@ADDR:x/y", "ssh url": "ssh://git@ADDR/x/y",
			"host": "github.com/x/y//base?ref=v1", "file": "file:///etc/passwd", "escaped": `http:\u002f\u002fADDR/x.yaml`,
			"underscores": "_git/http://ADDR/x", "a folder that is not there": "x.git/base", "submodules": "git::http://ADDR/x?submodules=1",
		} {
			out[field+", "+name] = one("resources: [cm.yaml]\n" + field + `: ["` + url + "\"]\n")
		}
	}
	for name, text := range map[string]string{
		"json":                `{"resources": ["http://ADDR/x.yaml"]}`,
		"json with escapes":   `{"resources": ["\u0068ttp://ADDR/x.yaml"]}`,
		"tag":                 "resources: [!!str http://ADDR/x.yaml]",
		"anchor":              "namePrefix: &u http://ADDR/x.yaml\nresources: [*u]",
		"merge key":           "x: &m {resources: [http://ADDR/x.yaml]}\n<<: *m",
		"upper field":         "RESOURCES: [http://ADDR/x.yaml]",
		"folded":              "resources:\n- >-\n  http://ADDR/x.yaml",
		"blanks":              "resources: [\" http://ADDR/x.yaml \"]",
		"openapi":             "resources: [cm.yaml]\nopenapi: {path: http://ADDR/x.json}",
		"patch path":          "resources: [cm.yaml]\npatches: [{path: http://ADDR/x.yaml}]",
		"json6902 path":       "resources: [cm.yaml]\npatchesJson6902: [{target: {version: v1, kind: ConfigMap, name: a}, path: http://ADDR/x}]",
		"replacement":         "resources: [cm.yaml]\nreplacements: [{path: http://ADDR/x.yaml}]",
		"generated files":     "configMapGenerator: [{name: a, files: [http://ADDR/x]}]",
		"generated env":       "configMapGenerator: [{name: a, envs: [HTTP://ADDR/x]}]",
		"generated env field": "secretGenerator: [{name: a, env: http://ADDR/x}]",
		"named file":          "configMapGenerator: [{name: a, files: [x=http://ADDR/x]}]",
		"inline generator":    "generators:\n- |-\n  apiVersion: builtin\n  kind: ConfigMapGenerator\n  metadata: {name: a}\n  files: [HTTP://ADDR/x]",
		"inline transformer":  "resources: [cm.yaml]\ntransformers:\n- |-\n  apiVersion: builtin\n  kind: PatchTransformer\n  metadata: {name: a}\n  path: http://ADDR/x",
		"helm":                "helmCharts: [{name: a, repo: http://ADDR/}]",
		"helm generator":      "helmChartInflationGenerator: [{chartName: a, chartRepoUrl: http://ADDR/}]",
		"exec":                "generators:\n- |-\n  apiVersion: x/v1\n  kind: X\n  metadata: {name: a, annotations: {config.kubernetes.io/function: \"exec: {path: /bin/true}\"}}",
		"container":           "generators:\n- |-\n  apiVersion: x/v1\n  kind: X\n  metadata: {name: a, annotations: {config.kubernetes.io/function: \"container: {image: ADDR/x}\"}}",
	} {
		out[name] = one(text)
	}
	yml := one("resources: [http://ADDR/x.yaml]")
	yml["kustomization.yml"] = yml["kustomization.yaml"]
	delete(yml, "kustomization.yaml")
	out["kustomization.yml"] = yml
	out["a base's"] = map[string]string{
		"kustomization.yaml": "resources: [base]", "base/Kustomization": "resources: [http://" + addr + "/x.yaml]",
	}
	out["a generator's file"] = map[string]string{
		"kustomization.yaml": "generators: [g.json]",
		"g.json":             `{"apiVersion": "builtin", "kind": "ConfigMapGenerator", "metadata": {"name": "a"}, "files": ["http://` + addr + `/x"]}`,
	}
	return out
}

// No build asks a server for anything, however that is said. It is not the spelling that is refused: a build has no network.
func TestNoBuildDials(t *testing.T) {
	var hits atomic.Int32
	count := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		_, _ = w.Write([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: stolen}\n"))
	})
	srv := httptest.NewUnstartedServer(count)
	srv.Config.ConnState = func(net.Conn, http.ConnState) { hits.Add(1) }
	srv.Start()
	defer srv.Close()
	addr := strings.TrimPrefix(srv.URL, "http://")
	b := builder(t, child.Limits{})
	for name, files := range remotes(addr) {
		objects, err := b.Build(t.Context(), tree.FromFiles(files), build.Options{Path: "."})
		for _, o := range objects {
			if o.GetName() == "stolen" {
				t.Errorf("%s: got an object from the server", name)
			}
		}
		if err != nil && (strings.Contains(err.Error(), "\n") || len(err.Error()) > 1000) {
			t.Errorf("%s: the error is no line: %v", name, err)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("the server saw %d connections", n)
	}
}
