// With no argument a server that says, and answers with, what Go's net/http has read: one line of JSON for each request; it
// says its port first. With an address a client that asks there for each "METHOD path" that stdin names, one after the
// other, and says what it has read.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

type counted struct{}

func main() {
	if len(os.Args) > 1 {
		ask(os.Args[1])
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("PORT %d\n", listener.Addr().(*net.TCPAddr).Port)
	server := http.Server{
		Handler: http.HandlerFunc(answer),
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, counted{}, new(atomic.Int64))
		},
	}
	panic(server.Serve(listener))
}

func answer(response http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, port, _ := net.SplitHostPort(request.RemoteAddr)
	seen, _ := json.Marshal(map[string]any{
		"method":     request.Method,
		"target":     request.RequestURI,
		"host":       request.Host,
		"body":       hex.EncodeToString(body),
		"connection": port,
		"nth":        request.Context().Value(counted{}).(*atomic.Int64).Add(1),
	})
	fmt.Println(string(seen))
	response.Write(seen)
}

func ask(address string) {
	client := http.Client{
		Transport:     &http.Transport{MaxConnsPerHost: 1, DisableCompression: true},
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		method, path, _ := strings.Cut(lines.Text(), " ")
		seen := map[string]any{"path": path}
		status, body, err := once(&client, method, "http://"+address+path)
		if err != nil {
			seen["error"] = err.Error()
		} else {
			seen["status"], seen["body"] = status, hex.EncodeToString(body)
		}
		line, _ := json.Marshal(seen)
		fmt.Println(string(line))
	}
}

func once(client *http.Client, method, url string) (int, []byte, error) {
	request, err := http.NewRequest(method, url, nil)
	if err != nil {
		return 0, nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, body, err
}
