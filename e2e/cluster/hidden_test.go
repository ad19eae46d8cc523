package cluster_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/siskin-dev/siskin/e2e/cluster"
)

const imageHidden = "siskin.dev/hidden"

// hiddenProgram writes a program that reads a file beside it, into a temporary directory.
func hiddenProgram(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "greeter")
	for name, text := range map[string]string{
		"greeter":  "#!/bin/sh\nexec podinfo --ui-message=\"$(cat \"$(dirname \"$0\")/greeting\")\" \"$@\"\n",
		"greeting": "from the file beside it",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// Every path of the host that programs, probes or the agent could need is below a volume of this pod.
const hidden = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: hidden, namespace: default}
spec:
  selector: {matchLabels: {app: hidden}}
  template:
    metadata: {labels: {app: hidden}}
    spec:
      volumes: [{name: empty, emptyDir: {}}]
      containers:
      - name: greeter
        image: siskin.dev/hidden:1
        ports: [{name: http, containerPort: 9898}]
        readinessProbe: {exec: {command: [podcli, check, http, localhost:9898/readyz]}, timeoutSeconds: 5} # podcli sleeps 1 s first
        lifecycle: {postStart: {exec: {command: [sh, -c, "test -z \"$(ls %[1]s)\""]}}}
        volumeMounts:
%[2]s
---
apiVersion: v1
kind: Service
metadata: {name: hidden, namespace: default}
spec: {selector: {app: hidden}, ports: [{port: 80, targetPort: http}]}
`

// testHiddenPaths starts a program whose host path, and everything near it, is hidden by volumes.
func testHiddenPaths(t *testing.T, c *cluster.Cluster) {
	work, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	var mounts []string
	for _, dir := range []string{os.TempDir(), "/var/tmp", home, filepath.Dir(filepath.Dir(work))} {
		mounts = append(mounts, fmt.Sprintf("        - {name: empty, mountPath: %q}", dir))
	}
	apply(t, c, fmt.Sprintf(hidden, os.TempDir(), strings.Join(mounts, "\n")))
	t.Cleanup(func() {
		if t.Failed() {
			out, err := c.Kubectl(context.Background(), "describe", "pods", "-l", "app=hidden")
			t.Log(out, err)
			for _, p := range pods(t, c, "default", "hidden") {
				t.Log(c.PodLogs("default", p.Name))
			}
		}
	})
	waitAvailable(t, c, "default", "hidden")
	waitGet(t, c.HTTPClient(), "http://hidden.default/api/info", "", "from the file beside it")
}
