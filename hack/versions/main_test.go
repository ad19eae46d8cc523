package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the servers share with Siskin is compiled once: a version that differs costs every newcomer time.
func TestSharedModulesHaveOneVersion(t *testing.T) {
	differences, err := compare("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range differences {
		t.Errorf("%s: go run ./hack/versions -fix", d)
	}
}

// The sources that are built in part are those of go.mod.
func TestUpstreamsAreRequired(t *testing.T) {
	required, err := requirements("../../tools/servers")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"prometheus", "traefik"} {
		raw, err := os.ReadFile(filepath.Join("../../tools/servers", name, "upstream"))
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(string(raw))
		if len(fields) != 3 || required[fields[0]] != fields[1] || !strings.HasPrefix(fields[2], "h1:") {
			t.Errorf("tools/servers/%s/upstream says %q, go.mod %s", name, raw, required[fields[0]])
		}
	}
}
