# Greets each name that a client sends; `twistd -n wsdaemon -c examples/hosting.ini` serves it at /greeter.
echo "Welcome from $SERVER_NAME. What is your name?"
while read -r name; do
    echo "Hello $name!"
done
