package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRouterVerify : one line for each fixture, a diff where one fails, and an error that ends the process with 1.
func TestRouterVerify(t *testing.T) {
	good, err := os.ReadFile("../../kustomize/routers/traefik.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(good)
	for name, tt := range map[string]struct {
		text string
		says []string
		err  string
	}{
		"good": {text, []string{"PASS traefik/all-to-the-primary\n", "PASS traefik (ClusterRole)\n"}, ""},
		"another weight": {strings.Replace(text, "* weight.canary", "* weight.primary", 1), []string{
			"PASS traefik/all-to-the-primary\n", "FAIL traefik/a-twentieth-to-the-canary: the object is not the expected one\n",
			"-       weight: 5\n", "+       weight: 95\n",
		}, "checks failed"},
		"it cannot be read back": {
			strings.Replace(text, "s.name == canary)", "s.name == 'other')", 1), []string{"spec.current reads"}, "checks failed",
		},
		"not declared": {strings.Replace(text, "- pointer: /spec/w", "- pointer: /spec/mirroring/w", 1), []string{
			"FAIL traefik: spec.weights.fields[0].pointer: /spec/mirroring/weighted/services is outside of spec.target.writes",
		}, "1 of 1 checks failed"},
		"an unknown field": {
			strings.Replace(text, "  settle: 4s", "  settles: 4s", 1), []string{`unknown field "settles"`}, "1 of 1",
		},
		"too many rights": {
			strings.Replace(text, "  - patch\n", "  - patch\n  - delete\n", 1),
			[]string{"FAIL traefik (ClusterRole): ", "delete"},
			"1 of",
		},
		"no definition": {"kind: ConfigMap\n", []string{"it has no RouterDefinition"}, "1 of 1"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "definition.yaml")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			cmd := command()
			cmd.SetArgs([]string{"router", "verify", file})
			cmd.SetOut(&out)
			err := cmd.ExecuteContext(t.Context())
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got error %v, want %q", err, tt.err)
			}
			for _, want := range tt.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in\n%s", want, out.String())
				}
			}
		})
	}
}
