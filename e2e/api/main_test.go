// Package api_test checks on a real API server what fakes cannot: validation, admission policies, RBAC, server-side apply.
package api_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// shared is the one cluster of this package: an API server, a git server and Siskin with its admission policies, no data plane.
type shared struct {
	once sync.Once
	env  *fixtures.Env
	err  error
}

var world shared

func TestMain(m *testing.M) {
	flag.Parse()
	log.SetLogger(logr.Discard()) // or clients complain that nobody did
	code := m.Run()
	if world.env != nil {
		if err := world.env.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the cluster:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// given returns the cluster, which the first caller starts.
func given(t *testing.T) *fixtures.Env {
	t.Helper()
	world.once.Do(func() { world.env, world.err = start() })
	if world.err != nil {
		t.Fatal(world.err)
	}
	return world.env
}

func start() (*fixtures.Env, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute) // building the servers takes most of it, once
	defer cancel()
	crds, err := fixtures.GatewayCRDs(ctx)
	if err != nil {
		return nil, err
	}
	keda, err := fixtures.KEDACRD()
	if err != nil {
		return nil, err
	}
	istio, err := fixtures.IstioCRDs(ctx)
	if err != nil {
		return nil, err
	}
	e, err := fixtures.New(ctx, cluster.Options{Git: true, CRDs: append(crds, keda, istio)})
	if err != nil {
		return nil, err
	}
	return e, installPolicies(ctx, e)
}

// installPolicies applies kustomize/default with the component admission-policies, as docs tell users to.
func installPolicies(ctx context.Context, e *fixtures.Env) error {
	root, err := fixtures.Root()
	if err != nil {
		return err
	}
	dir := filepath.Join(e.Dir(), "install")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making a kustomization: %w", err)
	}
	base, err := filepath.Rel(dir, filepath.Join(root, "kustomize"))
	if err != nil {
		return fmt.Errorf("finding kustomize: %w", err)
	}
	text := fmt.Sprintf("resources: [%[1]s/default]\ncomponents: [%[1]s/components/admission-policies]\n", base)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing a kustomization: %w", err)
	}
	if out, err := e.Kubectl(ctx, "apply", "-k", dir); err != nil {
		return fmt.Errorf("installing the admission policies: %w: %s", err, out)
	}
	return nil
}
