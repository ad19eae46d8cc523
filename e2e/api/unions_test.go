package api_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// union is an object that git switches from one of several fields, of which an object may have only one, to another,
// and back.
type union struct{ before, after string }

// unions of which each is an object of its own; %s is its name.
func unions() map[string]union {
	workload := func(kind, spec, pod, container string) string {
		if kind != "DaemonSet" { // whose pods nobody needs here either, but it has no number
			spec += "\n  replicas: 0"
		}
		return fmt.Sprintf(`apiVersion: apps/v1
kind: %s
metadata: {name: %%[1]s}
spec:
  selector: {matchLabels: {app: %%[1]s}}
  %s
  template:
    metadata: {labels: {app: %%[1]s}}
    spec:
      %s
      containers:
      - name: sidecar
        image: siskin.dev/pause:1
      - name: app
        image: siskin.dev/pause:1
        %s
`, kind, spec, pod, container)
	}
	spec := func(before, after string) union {
		return union{workload("Deployment", before, "", ""), workload("Deployment", after, "", "")}
	}
	pod := func(before, after string) union {
		return union{workload("Deployment", "", before, ""), workload("Deployment", "", after, "")}
	}
	container := func(before, after string) union {
		return union{workload("Deployment", "", "", before), workload("Deployment", "", "", after)}
	}
	object := func(api, kind string) func(before, after string) union {
		head := "apiVersion: " + api + "\nkind: " + kind + "\nmetadata: {name: %[1]s}\nspec: "
		return func(before, after string) union { return union{head + before + "\n", head + after + "\n"} }
	}
	service, hpa := object("v1", "Service"), object("autoscaling/v2", "HorizontalPodAutoscaler")
	ingress := object("networking.k8s.io/v1", "Ingress")
	const scale, ports = "scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: x}, maxReplicas: 3", "ports: [{name: http, port: 80}]"
	return map[string]union{
		"strategy":            spec("", "strategy: {type: Recreate}"),
		"strategy-null":       spec("", "strategy: {type: Recreate, rollingUpdate: null}"),
		"strategy-said":       spec("strategy: {type: RollingUpdate}", "strategy: {type: Recreate}"),
		"strategy-numbers":    spec("strategy: {rollingUpdate: {maxSurge: 1}}", "strategy: {type: Recreate}"),
		"strategy-both-null":  spec("strategy: {rollingUpdate: null}", "strategy: {type: Recreate, rollingUpdate: null}"),
		"daemonset":           {workload("DaemonSet", "", "", ""), workload("DaemonSet", "updateStrategy: {type: OnDelete}", "", "")},
		"statefulset":         {workload("StatefulSet", "", "", ""), workload("StatefulSet", "updateStrategy: {type: OnDelete}", "", "")},
		"statefulset-percent": {workload("StatefulSet", "updateStrategy: {rollingUpdate: {partition: 1}}", "", ""), workload("StatefulSet", "updateStrategy: {type: OnDelete}", "", "")},

		"volume-default": pod("volumes: [{name: a, emptyDir: {}}, {name: data}]", "volumes: [{name: data, configMap: {name: c}}]"),
		"volume":         pod("volumes: [{name: data, configMap: {name: c, optional: true}}]", "volumes: [{name: data, secret: {secretName: s}}]"),
		"volume-project": pod("volumes: [{name: data, projected: {sources: [{configMap: {name: c}}]}}]", "volumes: [{name: data, downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.name}}]}}]"),
		"volume-host":    pod("volumes: [{name: data, hostPath: {path: /x}}]", "volumes: [{name: data, persistentVolumeClaim: {claimName: c}}]"),
		"affinity":       pod("nodeSelector: {a: b}", "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}"),
		"host-network":   {workload("Deployment", "", "hostNetwork: true", "ports: [{containerPort: 8080}]"), workload("Deployment", "", "", "ports: [{containerPort: 8081}]")},

		"env":        container("env: [{name: A, value: a}]", "env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]"),
		"env-empty":  container("env: [{name: A}]", "env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: k}}}]"),
		"env-source": container("env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]", "env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]"),
		"env-from":   container("envFrom: [{configMapRef: {name: c}}]", "envFrom: [{secretRef: {name: c}}]"),
		"probe-exec": container("readinessProbe: {httpGet: {port: 80}}", "readinessProbe: {exec: {command: ['true']}}"),
		"probe-tcp":  container("livenessProbe: {httpGet: {port: 80}}", "livenessProbe: {tcpSocket: {port: 80}}"),
		"probe-grpc": container("startupProbe: {grpc: {port: 80}}", "startupProbe: {httpGet: {port: 80, scheme: HTTPS}}"),
		"lifecycle":  container("lifecycle: {preStop: {httpGet: {port: 80}}}", "lifecycle: {preStop: {sleep: {seconds: 1}}}"),
		"resources":  container("resources: {limits: {cpu: 2}}", "resources: {limits: {cpu: 1}}"),

		"svc-balancer":      service("{type: LoadBalancer, externalTrafficPolicy: Local, "+ports+"}", "{"+ports+"}"),
		"svc-node":          service("{type: NodePort, "+ports+"}", "{"+ports+"}"),
		"svc-node-local":    service("{type: NodePort, "+ports+"}", "{type: LoadBalancer, externalTrafficPolicy: Local, "+ports+"}"),
		"svc-external":      service("{"+ports+"}", "{type: ExternalName, externalName: x.example.org}"),
		"svc-out":           service("{type: LoadBalancer, "+ports+"}", "{type: ExternalName, externalName: x.example.org}"),
		"svc-port-name":     service("{ports: [{name: http, port: 80, targetPort: http}]}", "{ports: [{name: web, port: 80, targetPort: 8080}]}"),
		"svc-sticky":        service("{sessionAffinity: ClientIP, "+ports+"}", "{sessionAffinity: None, "+ports+"}"),
		"svc-sticky-unsaid": service("{sessionAffinity: ClientIP, "+ports+"}", "{"+ports+"}"),
		"svc-no-ports":      service("{type: LoadBalancer, allocateLoadBalancerNodePorts: false, "+ports+"}", "{"+ports+"}"),

		"hpa-resource": hpa("{"+scale+"}", "{"+scale+", metrics: [{type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 1Gi}}}]}"),
		"hpa-metric":   hpa("{"+scale+", metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]}", "{"+scale+", metrics: [{type: Pods, pods: {metric: {name: m}, target: {type: AverageValue, averageValue: 1}}}]}"),
		"hpa-behavior": hpa("{"+scale+", behavior: {scaleDown: {selectPolicy: Disabled}}}", "{"+scale+", behavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 60}]}}}"),
		"pdb":          object("policy/v1", "PodDisruptionBudget")("{minAvailable: 1, selector: {matchLabels: {a: b}}}", "{maxUnavailable: 1, selector: {matchLabels: {a: b}}}"),
		"ing-port":     ingress("{defaultBackend: {service: {name: a, port: {number: 80}}}}", "{defaultBackend: {service: {name: a, port: {name: http}}}}"),
		"ing-resource": ingress("{defaultBackend: {service: {name: a, port: {number: 80}}}}", "{defaultBackend: {resource: {apiGroup: a.example.org, kind: Bucket, name: b}}}"),
		"ing-rules":    ingress("{defaultBackend: {service: {name: a, port: {number: 80}}}}", "{rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}}]}"),
		"netpol":       object("networking.k8s.io/v1", "NetworkPolicy")("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}"),
		"cron":         object("batch/v1", "CronJob")("{schedule: '@daily', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: x}]}}}}}", "{schedule: '@daily', concurrencyPolicy: Forbid, jobTemplate: {spec: {completions: 3, completionMode: Indexed, template: {spec: {restartPolicy: OnFailure, containers: [{name: a, image: x}]}}}}}"),
		"claim":        object("v1", "PersistentVolumeClaim")("{accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}", "{accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}"),
		"quota":        object("v1", "LimitRange")("{limits: [{type: Container, max: {cpu: 2}}]}", "{limits: [{type: Container, max: {cpu: 1}}]}"),
	}
}

// TestSyncSwitchesUnions : what kubectl apply takes, GitSync takes: a switch from one of several fields to another,
// though the server filled in what git left out.
func TestSyncSwitchesUnions(t *testing.T) {
	all := unions()
	files := func(of func(union) string) map[string]string {
		out := map[string]string{}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			text := of(all[name])
			out[name+".yaml"] = strings.ReplaceAll(text, "%[1]s", name)
		}
		return out
	}
	before, after := files(func(u union) string { return u.before }), files(func(u union) string { return u.after })
	s := syncing(t, "", "", before)
	s.ready(metav1.ConditionTrue, siskinv1.GitSyncSynced, "")
	for i, content := range []map[string]string{after, before, after} {
		hash := s.repo.Commit(fmt.Sprintf("switch %d", i), content)
		s.ready(metav1.ConditionTrue, siskinv1.GitSyncSynced, hash)
	}
}
