package main

import (
	"fmt"
	"time"
)

const (
	namespace = "demo"
	app       = "podinfo"
	host      = "podinfo.example.com"
	channel   = "releases"
	author    = "Dana Dev"
	email     = "dana@example.com"

	defaultInterval = 10 * time.Second
	syncInterval    = 2 * time.Second
	steps           = 5
)

// version is one version of podinfo, as a commit brings it.
type version struct {
	// message that podinfo shows to its users.
	message string
	// bad : podinfo answers a third of the requests with 500, 400 or 409.
	bad bool
	// subject is the first line of the commit's message.
	subject string
}

func versions() (first, good, bad version) {
	return version{message: "v1", subject: "Run podinfo, with a Canary"},
		version{message: "v2 good", subject: "Greet the users with v2"},
		version{message: "v3 bad", bad: true, subject: "Greet the users with v3, and switch random errors on"}
}

// deployment is deploy/deployment.yaml: podinfo as its users know it. Its metrics have a port of their own, as random errors
// meet everything on the first one.
func deployment(v version) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: podinfo
spec:
  replicas: 2
  selector:
    matchLabels: {app: podinfo}
  template:
    metadata:
      labels: {app: podinfo}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "9797"
    spec:
      containers:
      - name: podinfod
        image: ghcr.io/stefanprodan/podinfo:6.9.2
        command:
        - ./podinfo
        - --port=9898
        - --port-metrics=9797
        - --level=info
        - --random-error=%t
        env:
        - {name: PODINFO_UI_MESSAGE, value: %q}
        ports:
        - {name: http, containerPort: 9898}
        - {name: http-metrics, containerPort: 9797}
        readinessProbe:
          httpGet: {path: /readyz, port: http}
        livenessProbe:
          httpGet: {path: /healthz, port: http}
        resources:
          requests: {cpu: 100m, memory: 32Mi}
`, v.bad, v.message)
}

// canary is deploy/canary.yaml.
func canary(interval time.Duration) string {
	return fmt.Sprintf(`# Five steps of %[1]s; each must pass both checks. One failed check takes the version back.
apiVersion: siskin.dev/v1
kind: Canary
metadata:
  name: podinfo
spec:
  targetRef: {kind: Deployment, name: podinfo}
  provider: gatewayapi
  progressDeadlineSeconds: 60
  service:
    port: 80
    targetPort: http
    hosts: [podinfo.example.com]
    gatewayRefs:
    - {name: gateway, namespace: gateway-system}
  analysis:
    interval: %[1]s
    threshold: 1
    stepWeight: 10
    maxWeight: 50
    metrics:
    - name: request-success-rate # percent, of the gateway's requests
      interval: 30s
      thresholdRange: {min: 99}
    - name: request-duration # 99th percentile in milliseconds
      interval: 30s
      thresholdRange: {max: 500}
    alerts:
    - name: team
      providerRef: {name: slack}
`, interval)
}

// alerts is deploy/alerts.yaml. The token is not in git.
func alerts(slackURL string) string {
	return fmt.Sprintf(`# The Secret "slack" holds the bot token; it is not in git.
apiVersion: siskin.dev/v1
kind: AlertProvider
metadata:
  name: slack
spec:
  type: slack
  channel: %s
  address: %s
  secretRef: {name: slack}
`, channel, slackURL)
}

const kustomization = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- deployment.yaml
- canary.yaml
- alerts.yaml
`

// bootstrap is what a person applies once; the rest comes from git.
func bootstrap(gitURL string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Namespace
metadata:
  name: %[1]s
---
apiVersion: v1
kind: Secret
metadata:
  name: slack
  namespace: %[1]s
stringData:
  token: xoxb-demo
---
apiVersion: siskin.dev/v1
kind: GitSync
metadata:
  name: %[2]s
  namespace: %[1]s
spec:
  url: %[3]s
  path: ./deploy
  interval: %[4]s
`, namespace, app, gitURL, syncInterval)
}
