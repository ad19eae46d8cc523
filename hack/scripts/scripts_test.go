// Package scripts holds tests of the build scripts.
package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// compile runs hack/progress.sh's function in a module with one package.
func compile(t *testing.T, source string) (output, log string, err error) {
	t.Helper()
	script, err := filepath.Abs("../progress.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.test/one\n\ngo 1.26.0\n", "main.go": source, "total": "1\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c",
		`source "$1"; compile One "$2/log" "$2/total" "$2" -o "$2/one" .`, "bash", script, dir)
	raw, err := cmd.CombinedOutput()
	text, readErr := os.ReadFile(filepath.Join(dir, "log"))
	if readErr != nil {
		t.Fatal(readErr)
	}
	return string(raw), string(text), err
}

// What go says goes to the log: a build is a line at its beginning, one every 15 s and one at its end.
func TestABuildIsToldInLines(t *testing.T) {
	out, log, err := compile(t, "package main\n\nfunc main() {}\n")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.HasSuffix(out, " s\n") || !strings.Contains(out, "One: built in ") || strings.Contains(out, "example.test") {
		t.Errorf("told %q", out)
	}
	if !strings.Contains(log, "example.test/one") {
		t.Errorf("the log has no package: %q", log)
	}
}

func TestAFailedBuildShowsTheEndOfItsLog(t *testing.T) {
	out, _, err := compile(t, "package main\n\nfunc main() { undefined() }\n")
	if err == nil || !strings.Contains(out, "One: FAILED after ") || !strings.Contains(out, "undefined: undefined") {
		t.Errorf("%v: told %q", err, out)
	}
}
