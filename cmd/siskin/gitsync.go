package main

import (
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/pkg/gitsync"
)

// wireGitSync gives GitSync a client of its own: it writes objects of any kind, and the manager's client would watch each kind
// that is written through it, to see its own writes.
func wireGitSync(mgr ctrl.Manager, o *options) error {
	c, err := client.New(mgr.GetConfig(), client.Options{
		Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(),
		Cache: &client.CacheOptions{Reader: mgr.GetCache()},
	})
	if err != nil {
		return fmt.Errorf("making GitSync's client: %w", err)
	}
	r := &gitsync.Reconciler{Client: c}
	return r.SetupWithManager(mgr, gitsync.Options{MaxConcurrentReconciles: o.syncWorkers, DisableFileURLs: !o.fileURLs})
}
