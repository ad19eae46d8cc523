// Package proxy is the network of a cluster of processes: a Service proxy, a DNS server, and the proxy through
// which tests reach addresses inside.
package proxy

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

const dialTimeout = 5 * time.Second

// Services listens on every port of every Service address and forwards each connection to a random ready
// endpoint. The endpoints are looked up per connection, so a change counts from the next connection on.
type Services struct {
	log     io.Writer
	factory informers.SharedInformerFactory
	svcs    corelisters.ServiceLister
	slices  discoverylisters.EndpointSliceLister
	svcInf  cache.SharedIndexInformer
	epInf   cache.SharedIndexInformer

	mu        sync.Mutex
	listeners map[string]*serviceListener // by address

	troubles troubles
}

type serviceListener struct {
	net.Listener
	mu        sync.Mutex
	namespace string
	service   string
	port      string // name of the port
}

// NewServices returns a proxy that Run starts.
func NewServices(client kubernetes.Interface, log io.Writer) *Services {
	f := informers.NewSharedInformerFactory(client, 0)
	return &Services{
		log: log, factory: f,
		svcs: f.Core().V1().Services().Lister(), svcInf: f.Core().V1().Services().Informer(),
		slices: f.Discovery().V1().EndpointSlices().Lister(), epInf: f.Discovery().V1().EndpointSlices().Informer(),
		listeners: map[string]*serviceListener{},
	}
}

// Run keeps the listeners in step with the Services until the context ends.
func (s *Services) Run(ctx context.Context) error {
	_, err := s.svcInf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { s.sync() },
		UpdateFunc: func(any, any) { s.sync() },
		DeleteFunc: func(any) { s.sync() },
	})
	if err != nil {
		return fmt.Errorf("watching services: %w", err)
	}
	s.factory.Start(ctx.Done())
	<-ctx.Done()
	s.factory.Shutdown()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		_ = l.Close()
	}
	return nil
}

// Synced says that all Services and endpoints are known.
func (s *Services) Synced() bool { return s.svcInf.HasSynced() && s.epInf.HasSynced() }

func (s *Services) sync() {
	all, err := s.svcs.List(labels.Everything())
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := map[string]bool{}
	for _, svc := range all {
		if svc.Spec.ClusterIP == "" || svc.Spec.ClusterIP == corev1.ClusterIPNone {
			continue
		}
		for _, p := range svc.Spec.Ports {
			if p.Protocol != corev1.ProtocolTCP && p.Protocol != "" {
				continue
			}
			addr := net.JoinHostPort(svc.Spec.ClusterIP, strconv.Itoa(int(p.Port)))
			wanted[addr] = true
			s.listen(addr, svc, p.Name)
		}
	}
	for addr, l := range s.listeners {
		if !wanted[addr] {
			_ = l.Close()
			delete(s.listeners, addr)
		}
	}
}

func (s *Services) listen(addr string, svc *corev1.Service, port string) {
	if l := s.listeners[addr]; l != nil {
		l.mu.Lock()
		l.namespace, l.service, l.port = svc.Namespace, svc.Name, port
		l.mu.Unlock()
		return
	}
	nl, err := net.Listen("tcp", addr)
	if err != nil {
		_, _ = fmt.Fprintf(s.log, "service %s/%s: %v\n", svc.Namespace, svc.Name, err)
		return
	}
	l := &serviceListener{Listener: nl, namespace: svc.Namespace, service: svc.Name, port: port}
	s.listeners[addr] = l
	go s.serve(l) // ends when the listener is closed
}

func (s *Services) serve(l *serviceListener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			l.mu.Lock()
			namespace, service, port := l.namespace, l.service, l.port
			l.mu.Unlock()
			if s.troubles.of(namespace, service).Refuse {
				reset(conn)
				return
			}
			up := s.dial(namespace, service, port)
			if up == nil {
				reset(conn)
				return
			}
			done := s.troubles.track(namespace, service, conn)
			Join(conn, s.troubles.slow(namespace, service, up))
			done()
		}()
	}
}

// reset closes a connection as a node does for a Service without endpoints: refused, not cut in the middle.
func reset(conn net.Conn) {
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = conn.Close()
}

// dial tries the endpoints in random order.
func (s *Services) dial(namespace, service, port string) net.Conn {
	addrs := s.Endpoints(namespace, service, port)
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	for _, a := range addrs {
		if c, err := net.DialTimeout("tcp", a, dialTimeout); err == nil {
			return c
		}
	}
	return nil
}

// Endpoints lists the ready addresses of a port of a Service.
func (s *Services) Endpoints(namespace, service, port string) []string {
	sel := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service})
	list, err := s.slices.EndpointSlices(namespace).List(sel)
	if err != nil {
		return nil
	}
	seen := map[string]bool{}
	var out []string
	for _, slice := range list {
		for _, p := range slice.Ports {
			if p.Port == nil || (p.Name != nil && *p.Name != port) {
				continue
			}
			for _, e := range slice.Endpoints {
				if e.Conditions.Ready != nil && !*e.Conditions.Ready {
					continue
				}
				for _, a := range e.Addresses {
					addr := net.JoinHostPort(a, strconv.Itoa(int(*p.Port)))
					if !seen[addr] {
						seen[addr] = true
						out = append(out, addr)
					}
				}
			}
		}
	}
	return out
}

// addresses lists the ready IPs of a headless Service, or of one pod of it by host name.
func (s *Services) addresses(namespace, service, hostname string) []string {
	sel := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service})
	list, err := s.slices.EndpointSlices(namespace).List(sel)
	if err != nil {
		return nil
	}
	var out []string
	for _, slice := range list {
		for _, e := range slice.Endpoints {
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready
			if !ready || (hostname != "" && (e.Hostname == nil || *e.Hostname != hostname)) {
				continue
			}
			out = append(out, e.Addresses...)
		}
	}
	return out
}

// Join copies between two connections until both directions have ended.
func Join(a, b net.Conn) {
	var wg sync.WaitGroup
	half := func(dst, src net.Conn) {
		_, err := io.Copy(dst, src)
		if c, ok := dst.(interface{ CloseWrite() error }); ok && err == nil {
			_ = c.CloseWrite()
			return
		}
		_ = dst.Close()
		_ = src.Close()
	}
	wg.Go(func() { half(a, b) })
	wg.Go(func() { half(b, a) })
	wg.Wait()
	_ = a.Close()
	_ = b.Close()
}

// Forward accepts connections and joins each with a connection to target.
func Forward(l net.Listener, dial func(ctx context.Context) (net.Conn, error)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
			defer cancel()
			up, err := dial(ctx)
			if err != nil {
				reset(conn)
				return
			}
			Join(conn, up)
		}()
	}
}

func isHeadless(svc *corev1.Service) bool { return svc.Spec.ClusterIP == corev1.ClusterIPNone }

func (s *Services) service(namespace, name string) *corev1.Service {
	svc, err := s.svcs.Services(namespace).Get(name)
	if err != nil {
		return nil
	}
	return svc
}
