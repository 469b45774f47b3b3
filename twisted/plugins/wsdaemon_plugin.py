from twisted.application.service import ServiceMaker

wsdaemon = ServiceMaker("wsdaemon", "wsdaemon.tap", "A WebSocket server daemon.", "wsdaemon")
