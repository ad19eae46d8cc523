package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/metricsserver"
	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
)

const metricsManifest = `
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  service: {name: metrics, namespace: metrics-system, port: 443}
  caBundle: %s
`

// startMetricsAPI serves the metrics API and has the API server hand requests for it on.
func (s *Supervisor) startMetricsAPI(ctx, startCtx context.Context) error {
	if !s.cfg.MetricsAPI {
		return nil
	}
	s.metrics = metricsserver.New(s.client)
	if err := s.metrics.Start(ctx, wire.MetricsAddr, s.pki.cert, s.pki.key); err != nil {
		return err
	}
	manifest := serviceManifest("metrics-system", "metrics", wire.MetricsIP, servicePort{"https", 443, wire.MetricsPort}) +
		"---" + fmt.Sprintf(metricsManifest, base64Std(s.pki.caPEM))
	if err := s.apply(startCtx, manifest); err != nil {
		return err
	}
	err := poll(startCtx, func(ctx context.Context) error {
		return s.client.Discovery().RESTClient().Get().AbsPath("/apis/metrics.k8s.io/v1beta1").Do(ctx).Error()
	})
	if err != nil {
		return fmt.Errorf("waiting for the metrics API: %w", err)
	}
	return nil
}

func (s *Supervisor) controlLoad(r *http.Request) (any, error) {
	if s.metrics == nil {
		return nil, errors.New("the cluster has no metrics API")
	}
	q := r.URL.Query()
	milli, err := strconv.ParseInt(q.Get("milli"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("reading the load: %w", err)
	}
	return nil, s.metrics.SetLoad(q.Get("namespace"), q.Get("selector"), milli)
}
