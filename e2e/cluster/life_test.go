package cluster_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/siskin-dev/siskin/e2e/cluster"
)

// TestSharedNetwork is the fallback of machines without veth devices.
func TestSharedNetwork(t *testing.T) {
	c := cluster.Start(t, cluster.Options{SharedNetwork: true})
	workload, _, _ := strings.Cut(app("shared", 2, ""), "---\napiVersion: gateway")
	apply(t, c, workload)
	workload, _, _ = strings.Cut(podinfo, "---\napiVersion: gateway")
	// podinfo binds its metrics port on every address, and nobody listens on localhost.
	workload = strings.Replace(workload, ", --port-metrics=9797", "", 1)
	apply(t, c, strings.Replace(workload, "exec: {command: [podcli, check, http, localhost:9898/readyz]}", "httpGet: {path: /readyz, port: http}", 1))
	waitGet(t, c.HTTPClient(), "http://shared.default.svc.cluster.local", "", "version")
	waitGet(t, c.HTTPClient(), "http://podinfo.web.svc.cluster.local", "", "hello from")
}

// TestNothingIsLeft kills the parent of a cluster, which cannot clean up then.
func TestNothingIsLeft(t *testing.T) {
	if os.Getenv("SISKIN_TEST_PARENT") != "" {
		c, err := cluster.New(t.Context(), cluster.Options{})
		if err != nil {
			t.Fatal(err)
		}
		workload, _, _ := strings.Cut(app("left", 1, ""), "---") // the Deployment
		apply(t, c, workload)
		waitAvailable(t, c, "default", "left")
		fmt.Printf("ID %s %s\n", c.ID(), c.Dir())
		select {}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNothingIsLeft$")
	cmd.Env = append(os.Environ(), "SISKIN_TEST_PARENT=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	id, dir := "", ""
	for lines := bufio.NewScanner(out); id == "" && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "ID %s %s", &id, &dir)
	}
	if n := len(marked(id)); id == "" || n < 5 {
		t.Fatalf("cluster %q has only %d processes", id, n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	cluster.Eventually(t, 30*time.Second, func(context.Context) error {
		if left := marked(id); len(left) > 0 {
			return fmt.Errorf("processes %v are left", left)
		}
		if _, err := os.Stat(dir); err == nil {
			return errors.New(dir + " is left")
		}
		return nil
	})
}
